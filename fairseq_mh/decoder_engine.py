"""A CMLM's decoder for many masked rows of few sentences: the stock decoder's features, for fewer products.

What is left out, against `NATransformerDecoder.extract_features`:
- keys and values of the source: once a sentence and layer, gathered for the rows, not computed again in each;
- the first layer's queries, keys and values: they depend on symbol and position alone, so each pair is computed
  once, although it occurs in nearly all the T rows that mask a sequence at one position each;
- the last layer's queries, attention and feed-forward at positions that nobody asked for.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from fairseq.models.nat import NATransformerDecoder
from fairseq.modules.multihead_attention import MultiheadAttention
from fairseq.modules.transformer_layer import TransformerDecoderLayer, TransformerDecoderLayerBase
from torch import Tensor, nn

Decode = Callable[[Tensor, Tensor, Tensor], Tensor]  # (M, L) inputs, (M, L) bool asked, (M,) rows -> (P, D)


class Source(NamedTuple):
    """What a layer attends to in each sentence of a batch."""

    keys: Tensor  # (B, H, S, D / H)
    values: Tensor  # the same
    valid: Tensor | None  # (B, 1, 1, S) bool; None: all of them

    def of(self, rows: Tensor) -> "Source":
        keys, values = self.keys.index_select(0, rows), self.values.index_select(0, rows)
        return Source(keys, values, None if self.valid is None else self.valid[rows])


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
        memory = encoder_out["encoder_out"][0].transpose(0, 1)  # (B, S, D)
        padding = encoder_out["encoder_padding_mask"]
        valid = ~padding[0][:, None, None] if padding and padding[0].any() else None
        sources = [layer.source(memory, valid) for layer in self.layers]

        def decode(inputs: Tensor, asked: Tensor, rows: Tensor) -> Tensor:
            return self._features(inputs, asked, [source.of(rows) for source in sources])

        return decode

    def _features(self, inputs: Tensor, asked: Tensor, sources: list[Source]) -> Tensor:
        x, padding = self.decoder.forward_embedding(inputs)  # (M, L, D)
        valid = ~padding[:, None, None] if padding.any() else None
        chosen, kept = _asked_first(asked)  # (M, Q)
        pairs: Pairs | None = _distinct(inputs)
        for layer, source in zip(self.layers, sources, strict=True):
            own = Source(*layer.keys_values(x, pairs), valid)
            if layer is self.layers[-1]:
                x, pairs = x.gather(1, chosen[..., None].expand(-1, -1, x.size(-1))), None  # (M, Q, D)
            x = layer(x, layer.queries(x, pairs), own, source)
            pairs = None
        x = x[kept]
        x = x if self.decoder.layer_norm is None else self.decoder.layer_norm(x)
        return x if self.decoder.project_out_dim is None else self.decoder.project_out_dim(x)


# One occurrence of each (symbol, position) pair, (U,) into M * L, and the number of each one's pair, (M, L).
Pairs = tuple[Tensor, Tensor]


class Layer:
    """A decoder layer in its parts."""

    def __init__(self, layer: TransformerDecoderLayerBase):
        self.layer, own, other = layer, layer.self_attn, layer.encoder_attn
        self.heads, self.other_heads = own.num_heads, other.num_heads
        self.own_weights = _stacked(own.k_proj, own.v_proj)
        self.other_weights = _stacked(other.k_proj, other.v_proj)

    def source(self, memory: Tensor, valid: Tensor | None) -> Source:
        keys, values = F.linear(memory, *self.other_weights).chunk(2, -1)
        keys, values = (_split(part, self.other_heads).contiguous() for part in (keys, values))
        return Source(keys, values, valid)

    def queries(self, x: Tensor, pairs: Pairs | None) -> Tensor:
        """(M, L, D) -> (M, H, L, D / H)."""
        return _split(_projected(self.layer.self_attn.q_proj, self._before(x), pairs), self.heads)

    def keys_values(self, x: Tensor, pairs: Pairs | None) -> tuple[Tensor, Tensor]:
        both = _projected(lambda y: F.linear(y, *self.own_weights), self._before(x), pairs)
        keys, values = both.chunk(2, -1)
        return _split(keys, self.heads), _split(values, self.heads)

    def __call__(self, x: Tensor, queries: Tensor, own: Source, source: Source) -> Tensor:
        """(M, Q, D) -> (M, Q, D), Q of the L positions that `own` holds."""
        layer = self.layer
        x = x + layer.self_attn.out_proj(_attend(queries, own))
        x = x if layer.normalize_before else layer.self_attn_layer_norm(x)
        y = layer.encoder_attn_layer_norm(x) if layer.normalize_before else x
        queries = _split(layer.encoder_attn.q_proj(y), self.other_heads)
        x = x + layer.encoder_attn.out_proj(_attend(queries, source))
        x = x if layer.normalize_before else layer.encoder_attn_layer_norm(x)
        y = layer.final_layer_norm(x) if layer.normalize_before else x
        x = x + layer.fc2(layer.activation_fn(layer.fc1(y)))
        return x if layer.normalize_before else layer.final_layer_norm(x)

    def _before(self, x: Tensor) -> Tensor:
        return self.layer.self_attn_layer_norm(x) if self.layer.normalize_before else x


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


def _attend(queries: Tensor, source: Source) -> Tensor:
    """(M, H, Q, D / H) -> (M, Q, D)."""
    x = F.scaled_dot_product_attention(queries, source.keys, source.values, source.valid)
    return x.transpose(1, 2).flatten(2)


def _split(x: Tensor, heads: int) -> Tensor:
    """(M, L, D) -> (M, H, L, D / H)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _stacked(*linears: nn.Linear) -> tuple[Tensor, Tensor | None]:
    biases = tuple(linear.bias for linear in linears if linear.bias is not None)
    return torch.cat(tuple(linear.weight for linear in linears)), torch.cat(biases) if biases else None


def _projected(linear: Callable[[Tensor], Tensor], x: Tensor, pairs: Pairs | None) -> Tensor:
    if pairs is None:
        return linear(x)
    distinct, place = pairs
    return F.embedding(place, linear(x.flatten(0, 1)[distinct]))


def _distinct(inputs: Tensor) -> Pairs:
    length = inputs.size(1)
    keys = inputs * length + torch.arange(length, device=inputs.device)
    symbols, place = keys.unique(return_inverse=True)
    occurrence = torch.empty_like(symbols)
    occurrence[place.flatten()] = torch.arange(keys.numel(), device=keys.device)
    return occurrence, place


def _asked_first(asked: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's asked positions, filled up to the most: (M, Q), and which of them are no filling."""
    most = int(asked.sum(1).max())
    chosen = asked.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    return chosen, asked.gather(1, chosen)
