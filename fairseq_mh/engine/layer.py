"""A layer of the decoder in its parts: attention among the targets, to the source, and feed-forward."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from fairseq.modules.transformer_layer import TransformerDecoderLayerBase
from torch import Tensor, nn

from fairseq_mh.engine.linear import apply_linear, linear
from fairseq_mh.engine.source_attention import SourceAttention, join_heads, source_attention, split_heads

# One occurrence of each (symbol, position) pair, (U,) into M * L, and the number of each one's pair, (M, L).
Pairs = tuple[Tensor, Tensor]


class Layer:
    """With the weights of queries, keys and values side by side: one product for three."""

    def __init__(self, layer: TransformerDecoderLayerBase):
        self.layer, self.attention = layer, layer.self_attn
        projections = (self.attention.q_proj, self.attention.k_proj, self.attention.v_proj)
        self.weight = torch.cat([projection.weight for projection in projections])
        self.bias = torch.cat([projection.bias for projection in projections])

    def source(self, memory: Tensor, valid: Tensor) -> SourceAttention:
        return source_attention(self.layer.encoder_attn, memory, valid)

    def self_attention(self, x: Tensor, valid: Tensor | None, pairs: Pairs | None) -> Tensor:
        """x and its attention to itself: (M, L, D) -> (M, L, D)."""
        three = _projected(lambda y: linear(y, self.weight, self.bias), self._before(x), pairs)
        queries, keys, values = (split_heads(part, self.attention.num_heads) for part in three.chunk(3, -1))
        found = F.scaled_dot_product_attention(queries, keys, values, valid)
        return x + apply_linear(self.attention.out_proj, join_heads(found))

    def self_attention_at(self, x: Tensor, valid: Tensor | None, chosen: Tensor) -> Tensor:
        """The same at few positions: (M, L, D), (M, Q) long -> (M, Q, D).

        Keys and values are projected on the queries' side: q . (W_k y + b_k) = (W_k^T q) . y, up to a constant
        that softmax does not see, and sum_j a_j (W_v y_j + b_v) = W_v (sum_j a_j y_j) + b_v.
        """
        own, heads = self.attention, self.attention.num_heads
        y, at = self._before(x), chosen[..., None].expand(-1, -1, x.size(-1))
        queries = apply_linear(own.q_proj, y.gather(1, at)).unflatten(-1, (heads, -1))  # (M, Q, H, D / H)
        queries = torch.einsum("mqhe,hed->mqhd", queries, own.k_proj.weight.unflatten(0, (heads, -1)))
        scale = 1 / math.sqrt(own.head_dim)
        queries, y = queries.flatten(1, 2)[:, None], y[:, None]
        if valid is not None and valid.size(2) > 1:  # each query's own, and each of its heads'
            valid = valid.gather(2, chosen[:, None, :, None].expand(-1, -1, -1, x.size(1))).repeat_interleave(heads, 2)
        found = F.scaled_dot_product_attention(queries, y, y, valid, scale=scale)
        found = found[:, 0].unflatten(1, (-1, heads))  # (M, Q, H, D)
        values = torch.einsum("mqhd,hed->mqhe", found, own.v_proj.weight.unflatten(0, (heads, -1))).flatten(2)
        return x.gather(1, at) + apply_linear(own.out_proj, values + own.v_proj.bias)

    def forward(self, x: Tensor, source: SourceAttention, context: Tensor) -> Tensor:
        """From the sum behind attention among the targets to the layer's output: (M, Q, D) -> (M, Q, D)."""
        layer = self.layer
        x = self._after(x, layer.self_attn_layer_norm)
        x = x + source(layer.encoder_attn_layer_norm(x) if layer.normalize_before else x, context)
        x = self._after(x, layer.encoder_attn_layer_norm)
        y = layer.final_layer_norm(x) if layer.normalize_before else x
        return self._after(
            x + apply_linear(layer.fc2, layer.activation_fn(apply_linear(layer.fc1, y))), layer.final_layer_norm
        )

    def _before(self, x: Tensor) -> Tensor:
        return self.layer.self_attn_layer_norm(x) if self.layer.normalize_before else x

    def _after(self, x: Tensor, norm: nn.Module) -> Tensor:
        return x if self.layer.normalize_before else norm(x)


def _projected(project: Callable[[Tensor], Tensor], x: Tensor, pairs: Pairs | None) -> Tensor:
    if pairs is None:
        return project(x)
    distinct, place = pairs
    return F.embedding(place, project(x.flatten(0, 1)[distinct]))
