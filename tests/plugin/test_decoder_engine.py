"""The decoder engine against the stock decoder, over the options of fairseq's NAT decoder."""

import pytest
import torch
from conftest import dictionary_of, model_of

from fairseq_mh import decoder_layer
from fairseq_mh.cmlm import decoder_of, stock_decoder
from fairseq_mh.source_attention import Folded, Plain, source_attention

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
UNKNOWN = {
    "scaled heads": {"scale_heads": True},
    "scaled attention": {"scale_attn": True},
    "scaled feed-forward": {"scale_fc": True},
    "scaled residuals": {"scale_resids": True},
}


def queries(model):
    """Sources of several lengths; rows of several lengths that mask one, some, or all positions."""
    generator = torch.Generator().manual_seed(1)
    source = torch.randint(4, 7, (3, 6), generator=generator)
    source[1, :2], source[2, :4], source[:, -1] = 1, 1, 2  # padded on the left, as fairseq does
    encoded = model.forward_encoder([source, torch.tensor([6, 4, 2])])
    inputs = torch.randint(4, 7, (8, 9), generator=generator)
    lengths = torch.tensor([9, 9, 3, 5, 7, 4, 9, 6])
    inputs[:, 0] = 0
    inputs[torch.arange(9) == lengths[:, None] - 1] = 2
    inputs[torch.arange(9) >= lengths[:, None]] = 1
    inside = (torch.arange(9) > 0) & (torch.arange(9) < lengths[:, None] - 1)
    asked = inside & (torch.rand(8, 9, generator=generator) < 0.4)
    asked[:, 1], asked[3] = True, inside[3]
    return encoded, inputs.masked_fill(asked, 3), asked, torch.tensor([0, 0, 1, 2, 2, 1, 0, 2])


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("attention", [Plain, Folded])
@torch.no_grad()
def test_logits_are_the_stock_decoders(attention, options, monkeypatch):
    monkeypatch.setattr(decoder_layer, "source_attention", attention)
    model = model_of(dictionary_of(), **{"decoder_layers": 3, "share_all_embeddings": True, **options})
    encoded, *query = queries(model)
    logits = [model.decoder.output_layer(decode(*query)) for decode in (bind(model, encoded) for bind in DECODERS)]
    assert logits[0].std() > 0.01
    torch.testing.assert_close(logits[0], logits[1], atol=1e-5, rtol=0)
    assert decoder_of(model).__qualname__ == "DecoderEngine.bind"


@torch.no_grad()
def test_short_sources_are_folded():
    model = model_of(dictionary_of())
    attention = model.decoder.layers[0].encoder_attn
    just = attention.embed_dim // attention.num_heads
    for length, kind in ((just - 1, Folded), (just, Plain)):
        memory = torch.zeros(2, length, attention.embed_dim)
        assert type(source_attention(attention, memory, memory[..., 0] == 0)) is kind


DECODERS = (stock_decoder, lambda model, encoded: decoder_of(model)(encoded))


@pytest.mark.parametrize("options", UNKNOWN.values(), ids=UNKNOWN)
@torch.no_grad()
def test_an_unknown_part_is_left_to_the_stock_decoder(options, caplog):
    caplog.set_level("INFO")
    model = model_of(dictionary_of(), **options)
    encoded, *query = queries(model)
    assert torch.equal(decoder_of(model)(encoded)(*query), stock_decoder(model, encoded)(*query))
    assert "the stock decoder is used" in caplog.text
