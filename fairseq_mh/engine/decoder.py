"""A CMLM's decoder for many masked rows of few sentences: the stock decoder's features, with less work.

`NATransformerDecoder.extract_features` computes three things more often than they are needed:

- The engine computes everything that depends only on the source once for each sentence and layer, not in each row
  (`source_attention`).
- The first layer's queries, keys and values depend only on symbol and position. The engine computes each such pair
  once, although it occurs in nearly all of the T rows that mask a sequence at one position each.
- The engine computes the last layer, including its keys and values, only at the requested positions
  (`Layer.self_attention_at`).

Shapes: M rows, L inputs of a row, Q requested positions of a row, P requested positions in all, D features.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from fairseq.models.nat import NATransformerDecoder
from fairseq.modules.multihead_attention import MultiheadAttention
from fairseq.modules.transformer_layer import TransformerDecoderLayer, TransformerDecoderLayerBase
from torch import Tensor, nn

from fairseq_mh.engine.layer import Layer, UniqueInputs
from fairseq_mh.engine.source_attention import SourceAttention

# (inputs (M, L) long, sites (M, L) bool, context (M,) long) -> features (P, D) at the sites, in row-major order
Decode = Callable[[Tensor, Tensor, Tensor], Tensor]


class DecoderEngine:
    """A stock decoder whose weights are arranged for many rows.

    Args:
        decoder: the stock decoder.

    Raises:
        ValueError: if the decoder has a part that this engine does not know and would leave out.
    """

    kinds: tuple[type, ...] = (NATransformerDecoder,)

    def __init__(self, decoder: Any):
        reason = next(unsupported_parts(decoder, self.kinds), None)
        if reason is not None:
            raise ValueError(reason)
        self.decoder = decoder
        self.layers = [Layer(layer) for layer in decoder.layers]

    def prepare_sources(self, encoder_out: dict) -> list[SourceAttention]:
        """Compute what depends only on these encoded sources: each layer's attention to them."""
        memory = encoder_out["encoder_out"][0].transpose(0, 1)  # (B, S, D)
        padding = encoder_out["encoder_padding_mask"]
        valid = ~padding[0] if padding else torch.ones(memory.shape[:2], dtype=torch.bool, device=memory.device)
        return [layer.prepare_source(memory, valid) for layer in self.layers]

    def bind(self, sources: list[SourceAttention]) -> Decode:
        """Return the decoder of these prepared sources, a function from rows to the features at their sites."""

        def decode(inputs: Tensor, sites: Tensor, context: Tensor) -> Tensor:
            x, padding = self.decoder.forward_embedding(inputs)  # (M, L, D)
            valid = ~padding[:, None, None] if padding.any() else None
            return self._features(x, valid, unique_inputs(inputs), sites, context, sources)

        return decode

    def bind_two_streams(self, sources: list[SourceAttention], mask: int) -> Decode:
        """Return the decoder whose features at a site do not see that site's symbol, from one row of 2 L inputs.

        A second stream follows the inputs, at the same positions, with the mask at each site (Yang et al., 2019). An
        input sees all inputs; a mask sees itself and all inputs except the one at its position. A mask's features
        therefore equal those of a row that masks only its position, except that, after the first layer, the features
        of the other inputs depend on the symbol at that position.

        Args:
            sources: the result of `prepare_sources`.
            mask: the mask's symbol.
        """

        def decode(inputs: Tensor, sites: Tensor, context: Tensor) -> Tensor:
            streams = torch.cat([inputs, inputs.masked_fill(sites, mask)], 1)  # (M, 2 L)
            embedded, padding = zip(*map(self.decoder.forward_embedding, streams.chunk(2, 1)), strict=True)
            visible = _visible_to_two_streams(inputs.size(1), inputs.device) & ~torch.cat(padding, 1)[:, None, None]
            mask_sites = torch.cat([torch.zeros_like(sites), sites], 1)  # take the features of the second stream
            unique = unique_inputs(streams, streams=2)
            return self._features(torch.cat(embedded, 1), visible, unique, mask_sites, context, sources)

        return decode

    def _features(
        self,
        x: Tensor,
        valid: Tensor | None,
        unique: UniqueInputs | None,
        sites: Tensor,
        context: Tensor,
        sources: list[SourceAttention],
    ) -> Tensor:
        """Return the decoder's features (P, D) at these sites.

        Args:
            x: (M, L, D), the embedded inputs.
            valid: (M, 1, L or 1, L) bool, the inputs that each input sees; None: all.
            unique: the different pairs of symbol and position.
            sites: (M, L) bool.
            context: (M,) long, the sentence of each row.
            sources: each layer's attention to the source.
        """
        for layer, source in zip(self.layers[:-1], sources[:-1], strict=True):
            x = layer.forward(layer.self_attention(x, valid, unique), source, context)
            unique = None  # after the first layer, x depends on the whole row
        positions, requested = _site_positions(sites)  # (M, Q), and (M, Q) or None
        last = self.layers[-1]
        x = last.forward(last.self_attention_at(x, valid, positions), sources[-1], context)
        return self._after_layers(x.flatten(0, 1) if requested is None else x[requested])

    def _after_layers(self, x: Tensor) -> Tensor:
        """Return the features (P, D) of the last layer's output (P, D')."""
        x = x if self.decoder.layer_norm is None else self.decoder.layer_norm(x)
        return x if self.decoder.project_out_dim is None else self.decoder.project_out_dim(x)


def unsupported_parts(decoder: Any, kinds: tuple[type, ...]) -> Iterator[str]:
    """Name the parts of a decoder that an engine of these kinds cannot compute; yield nothing if it can replace it."""
    if type(decoder) not in kinds:
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
        elif not all(_is_plain_attention(attention) for attention in (layer.self_attn, layer.encoder_attn)):
            yield "attention with extra keys, or by xformers"


def _is_plain_attention(attention: nn.Module) -> bool:
    plain = type(attention) is MultiheadAttention and not getattr(attention, "use_xformers", False)
    return plain and attention.bias_k is None and not attention.add_zero_attn


def _visible_to_two_streams(length: int, device: torch.device) -> Tensor:
    """Return which of 2 L keys each of 2 L queries sees, inputs first and then masks: (2 L, 2 L) bool."""
    diagonal = torch.eye(length, dtype=torch.bool, device=device)
    to_inputs = torch.cat([torch.ones_like(diagonal), torch.zeros_like(diagonal)], 1)
    to_masks = torch.cat([~diagonal, diagonal], 1)
    return torch.cat([to_inputs, to_masks])


def unique_inputs(inputs: Tensor, streams: int = 1) -> UniqueInputs:
    """Find the different pairs of symbol and position.

    Args:
        inputs: (M, L) long.
        streams: number of parts of equal length in each row; all parts have the same positions.

    Returns:
        The pairs, and the pair of each input.
    """
    length = inputs.size(1)
    keys = inputs * length + torch.arange(length // streams, device=inputs.device).repeat(streams)
    pairs, inverse = keys.unique(return_inverse=True)
    occurrence = torch.empty_like(pairs)
    occurrence[inverse.flatten()] = torch.arange(keys.numel(), device=keys.device)
    return UniqueInputs(occurrence, inverse)


def _site_positions(sites: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return each row's sites as positions, filled up to the same number.

    Args:
        sites: (M, L) bool.

    Returns:
        (M, Q) long, the positions; and (M, Q) bool, which of them are sites and not filling, or None if all rows have
        the same number of sites.
    """
    fewest, most = torch.stack(sites.sum(1).aminmax()).tolist()
    positions = sites.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    return positions, None if fewest == most else sites.gather(1, positions)
