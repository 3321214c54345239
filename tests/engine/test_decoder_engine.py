"""Tests that compare the decoder engine with the stock decoder for the options of fairseq's NAT decoder."""

import pytest
import torch

from fairseq_mh.engine import layer as engine_layer
from fairseq_mh.engine.decoder import DecoderEngine
from fairseq_mh.engine.source_attention import FoldedAttention, PlainAttention, source_attention
from fairseq_mh.errors import UserError
from fairseq_mh.masked_lms.stock_decoder import StockDecoder, decoder_of
from tests.tiny_cmlm import dictionary_of, model_of

OPTIONS = {
    "plain": {},
    "pre-norm": {"decoder_normalize_before": True, "encoder_normalize_before": True},
    "sinusoidal": {"decoder_learned_pos": False, "encoder_learned_pos": False},
    "learned": {"decoder_learned_pos": True, "encoder_learned_pos": True},
    "no positions": {"no_token_positional_embeddings": True},
    "layernorm_embedding": {"layernorm_embedding": True},
    "gelu": {"activation_fn": "gelu"},
    "projections": {"decoder_input_dim": 4, "decoder_output_dim": 12, "share_all_embeddings": False},
    "untied": {"share_all_embeddings": False},
    "one layer": {"decoder_layers": 1},
    "no scale": {"no_scale_embedding": True},
}
UNSUPPORTED = {
    "scaled heads": {"scale_heads": True},
    "scaled attention": {"scale_attn": True},
    "scaled feed-forward": {"scale_fc": True},
    "scaled residuals": {"scale_resids": True},
}


def queries(model):
    """Make sources of several lengths, and rows of several lengths that mask one, some or all positions.

    Returns:
        The encoded sources; inputs (8, 9) long; their sites (8, 9) bool; and the sentence of each row, (8,) long.
    """
    generator = torch.Generator().manual_seed(1)
    source = torch.randint(4, 7, (3, 6), generator=generator)
    source[1, :2], source[2, :4], source[:, -1] = 1, 1, 2  # fairseq pads on the left
    encoded = model.forward_encoder([source, torch.tensor([6, 4, 2])])
    inputs = torch.randint(4, 7, (8, 9), generator=generator)
    lengths = torch.tensor([9, 9, 3, 5, 7, 4, 9, 6])
    inputs[:, 0] = 0
    inputs[torch.arange(9) == lengths[:, None] - 1] = 2
    inputs[torch.arange(9) >= lengths[:, None]] = 1
    inside = (torch.arange(9) > 0) & (torch.arange(9) < lengths[:, None] - 1)
    sites = inside & (torch.rand(8, 9, generator=generator) < 0.4)
    sites[:, 1], sites[3] = True, inside[3]
    return encoded, inputs.masked_fill(sites, 3), sites, torch.tensor([0, 0, 1, 2, 2, 1, 0, 2])


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("attention", [PlainAttention, FoldedAttention])
@torch.no_grad()
def test_logits_equal_those_of_the_stock_decoder(attention, options, monkeypatch):
    monkeypatch.setattr(engine_layer, "source_attention", attention)
    model = model_of(dictionary_of(), **{"decoder_layers": 3, "share_all_embeddings": True, **options})
    encoded, *query = queries(model)
    decoders = StockDecoder(model, ValueError()), decoder_of(model)
    features = [decoder.bind(decoder.prepare_sources(encoded))(*query) for decoder in decoders]
    logits = [model.decoder.output_layer(found) for found in features]
    assert logits[0].std() > 0.01
    torch.testing.assert_close(logits[0], logits[1], atol=1e-5, rtol=0)
    assert isinstance(decoders[1], DecoderEngine)


@torch.no_grad()
def test_short_sources_get_folded_attention():
    model = model_of(dictionary_of())
    attention = model.decoder.layers[0].encoder_attn
    limit = attention.embed_dim // attention.num_heads
    for length, kind in ((limit - 1, FoldedAttention), (limit, PlainAttention)):
        memory = torch.zeros(2, length, attention.embed_dim)
        assert type(source_attention(attention, memory, memory[..., 0] == 0)) is kind


@pytest.mark.parametrize("options", UNSUPPORTED.values(), ids=UNSUPPORTED)
@torch.no_grad()
def test_a_decoder_with_an_unsupported_part_is_run_by_the_stock_decoder(options, caplog):
    caplog.set_level("INFO")
    model = model_of(dictionary_of(), **options)
    encoded, *query = queries(model)
    decoder = decoder_of(model)
    assert isinstance(decoder, StockDecoder)
    assert decoder.bind(decoder.prepare_sources(encoded))(*query).isfinite().all()
    assert "the stock decoder is used" in caplog.text
    with pytest.raises(UserError, match="two streams need a plain decoder; this model has scaled"):
        decoder.bind_two_streams(encoded, 3)


def two_streams_by_stock_layers(model, encoded, inputs, sites, context):
    """Run both streams through the stock layers, with the attention mask that defines two-stream attention."""
    decoder, length = model.decoder, inputs.size(1)
    streams = [decoder.forward_embedding(part) for part in (inputs, inputs.masked_fill(sites, 3))]
    x, padding = torch.cat([x for x, _ in streams], 1).transpose(0, 1), torch.cat([pad for _, pad in streams], 1)
    unseen = torch.zeros(2 * length, 2 * length)  # added to the attention's logits
    for query in range(2 * length):
        for key in range(2 * length):
            same_position = query % length == key % length
            sees_input = query < length or not same_position  # only the mask at its position does not see an input
            sees_mask = query == key  # only the mask itself sees a mask
            unseen[query, key] = 0 if (sees_mask if key >= length else sees_input) else -torch.inf
    repeated = model.encoder.reorder_encoder_out(encoded, context)
    memory, outside = repeated["encoder_out"][0], repeated["encoder_padding_mask"][0]
    for layer in decoder.layers:
        x = layer(x, memory, outside, None, self_attn_mask=unseen, self_attn_padding_mask=padding)[0]
    x = x.transpose(0, 1)[:, length:]
    x = x if decoder.layer_norm is None else decoder.layer_norm(x)
    return (x if decoder.project_out_dim is None else decoder.project_out_dim(x))[sites]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@torch.no_grad()
def test_two_streams_equal_the_stock_layers_with_that_attention_mask(options):
    model = model_of(dictionary_of(), **{"decoder_layers": 3, "share_all_embeddings": True, **options})
    encoded, inputs, sites, context = queries(model)
    inputs = inputs.masked_fill(sites, 5)
    decoder = decoder_of(model)
    found = decoder.bind_two_streams(decoder.prepare_sources(encoded), 3)(inputs, sites, context)
    torch.testing.assert_close(
        found, two_streams_by_stock_layers(model, encoded, inputs, sites, context), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(("layers", "same"), [(1, True), (2, False)])
@torch.no_grad()
def test_two_streams_of_one_layer_equal_rows_that_mask_one_position(layers, same):
    """Two streams of more layers differ, because the features of the other inputs depend on the symbol."""
    model = model_of(dictionary_of(), decoder_layers=layers)
    encoded, inputs, sites, context = queries(model)
    inputs, decoder = inputs.masked_fill(sites, 5), decoder_of(model)
    sequence, site = sites.nonzero(as_tuple=True)
    one_site = torch.arange(9) == site[:, None]
    sources = decoder.prepare_sources(encoded)
    expected = decoder.bind(sources)(inputs[sequence].masked_fill(one_site, 3), one_site, context[sequence])
    found = decoder.bind_two_streams(sources, 3)(inputs, sites, context)
    assert torch.allclose(found, expected, atol=1e-5) == same
