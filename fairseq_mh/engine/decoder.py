"""A CMLM's decoder for many masked rows of few sentences: the stock decoder's features, for fewer products.

What is left out, against `NATransformerDecoder.extract_features`:
- whatever depends on the source alone: once a sentence and layer, not again in each row (`source_attention`);
- the first layer's queries, keys and values: they depend on symbol and position alone, so each pair is computed
  once, although it occurs in nearly all the T rows that mask a sequence at one position each;
- the last layer at positions that nobody asked for, keys and values included (`Layer.self_attention_at`).
"""

from collections.abc import Callable, Iterator

import torch
from fairseq.models.nat import NATransformerDecoder
from fairseq.modules.multihead_attention import MultiheadAttention
from fairseq.modules.transformer_layer import TransformerDecoderLayer, TransformerDecoderLayerBase
from torch import Tensor, nn

from fairseq_mh.engine.layer import Layer, Pairs
from fairseq_mh.engine.source_attention import SourceAttention

Decode = Callable[[Tensor, Tensor, Tensor], Tensor]  # (M, L) inputs, (M, L) bool asked, (M,) context -> (P, D)


class DecoderEngine:
    """The weights of a decoder, arranged once.

    Raises:
        ValueError: for a decoder with a part that this engine does not know, and would leave out.
    """

    def __init__(self, decoder: NATransformerDecoder):
        for part in unknown_parts(decoder):
            raise ValueError(part)
        self.decoder = decoder
        self.layers = [Layer(layer) for layer in decoder.layers]

    def bind(self, encoder_out: dict) -> Decode:
        """The decoder of these sources: features at the asked positions, in row-major order."""
        sources = self._sources(encoder_out)

        def decode(inputs: Tensor, asked: Tensor, context: Tensor) -> Tensor:
            x, padding = self.decoder.forward_embedding(inputs)  # (M, L, D)
            valid = ~padding[:, None, None] if padding.any() else None
            return self._features(x, valid, _distinct(inputs), asked, context, sources)

        return decode

    def bind_two_streams(self, encoder_out: dict, mask: int) -> Decode:
        """The same where each asked position does not see its own symbol, but the mask: for one row of 2 L inputs.

        Behind the inputs stands, at the same positions, a stream of masks (Yang et al., 2019): each sees the inputs but
        its own, and itself. Among the inputs, all see all. So a mask's features are those of its position being masked
        alone, but that what the others have become, from the second layer on, knows the symbol behind the mask.
        """
        sources = self._sources(encoder_out)

        def decode(inputs: Tensor, asked: Tensor, context: Tensor) -> Tensor:
            streams = torch.cat([inputs, inputs.masked_fill(asked, mask)], 1)
            embedded, padding = zip(*map(self.decoder.forward_embedding, streams.chunk(2, 1)), strict=True)
            own = torch.eye(inputs.size(1), dtype=torch.bool, device=inputs.device)
            seen = torch.cat([torch.cat([own | True, own & False], 1), torch.cat([~own, own], 1)])  # (2 L, 2 L)
            seen = seen & ~torch.cat(padding, 1)[:, None, None]
            behind = torch.cat([torch.zeros_like(asked), asked], 1)
            return self._features(torch.cat(embedded, 1), seen, _distinct(streams, 2), behind, context, sources)

        return decode

    def _sources(self, encoder_out: dict) -> list[SourceAttention]:
        memory = encoder_out["encoder_out"][0].transpose(0, 1)  # (B, S, D)
        padding = encoder_out["encoder_padding_mask"]
        valid = ~padding[0] if padding else torch.ones(memory.shape[:2], dtype=torch.bool, device=memory.device)
        return [layer.source(memory, valid) for layer in self.layers]

    def _features(
        self,
        x: Tensor,
        valid: Tensor | None,
        pairs: Pairs | None,
        asked: Tensor,
        context: Tensor,
        sources: list[SourceAttention],
    ) -> Tensor:
        """Of the embedded inputs (M, L, D), where each (or all) of them sees what is valid: (M, 1, L or 1, L) bool."""
        for layer, source in zip(self.layers[:-1], sources[:-1], strict=True):
            x, pairs = layer.forward(layer.self_attention(x, valid, pairs), source, context), None
        chosen, kept = _asked_first(asked)  # (M, Q)
        last = self.layers[-1]
        x = last.forward(last.self_attention_at(x, valid, chosen), sources[-1], context)[kept]
        x = x if self.decoder.layer_norm is None else self.decoder.layer_norm(x)
        return x if self.decoder.project_out_dim is None else self.decoder.project_out_dim(x)


def unknown_parts(decoder: NATransformerDecoder) -> Iterator[str]:
    """Why `DecoderEngine` cannot stand in for this decoder; nothing where it can."""
    if type(decoder) is not NATransformerDecoder:
        yield f"a {type(decoder).__name__}"
        return
    if not all(type(layer) in (TransformerDecoderLayer, TransformerDecoderLayerBase) for layer in decoder.layers):
        yield "layers of its own"
        return
    for layer in decoder.layers:
        if layer.cross_self_attention or layer.encoder_attn is None:
            yield "another attention to the source"
        elif any(part is not None for part in (layer.c_attn, layer.attn_ln, layer.ffn_layernorm, layer.w_resid)):
            yield "scaled heads, attention, feed-forward or residuals"
        elif not all(_plain(attention) for attention in (layer.self_attn, layer.encoder_attn)):
            yield "attention with extra keys, or by xformers"


def _plain(attention: nn.Module) -> bool:
    plain = type(attention) is MultiheadAttention and not getattr(attention, "use_xformers", False)
    return plain and attention.bias_k is None and not attention.add_zero_attn


def _distinct(inputs: Tensor, streams: int = 1) -> Pairs:
    """Of so many streams, one behind the other, that have the same positions."""
    length = inputs.size(1)
    keys = inputs * length + torch.arange(length // streams, device=inputs.device).repeat(streams)
    symbols, place = keys.unique(return_inverse=True)
    occurrence = torch.empty_like(symbols)
    occurrence[place.flatten()] = torch.arange(keys.numel(), device=keys.device)
    return occurrence, place


def _asked_first(asked: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's asked positions, filled up to the most: (M, Q), and which of them are no filling."""
    most = int(asked.sum(1).max())
    chosen = asked.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    return chosen, asked.gather(1, chosen)
