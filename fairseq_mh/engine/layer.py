"""The parts of a decoder layer: self-attention, attention to the source, and feed-forward.

Shapes: M rows, L inputs of a row, Q inputs of a row that are queries, D features, H heads.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from fairseq.modules.transformer_layer import TransformerDecoderLayerBase
from torch import Tensor, nn

from fairseq_mh.engine.linear import apply_linear, linear
from fairseq_mh.engine.source_attention import SourceAttention, join_heads, source_attention, split_heads


class UniqueInputs(NamedTuple):
    """The U different pairs of symbol and position among M rows of L inputs."""

    occurrence: Tensor  # (U,) long: where each pair occurs, as an index into the M * L inputs
    inverse: Tensor  # (M, L) long: the number of each input's pair


class Layer:
    """A stock decoder layer that computes queries, keys and values in one product.

    Args:
        layer: the stock layer; its weights are used as they are.
    """

    def __init__(self, layer: TransformerDecoderLayerBase):
        self.layer, self.attention = layer, layer.self_attn
        projections = (self.attention.q_proj, self.attention.k_proj, self.attention.v_proj)
        self.weight = torch.cat([projection.weight for projection in projections])  # (3 D, D)
        self.bias = torch.cat([projection.bias for projection in projections])  # (3 D,)

    def prepare_source(self, memory: Tensor, valid: Tensor) -> SourceAttention:
        """Return the attention to these sources.

        Args:
            memory: (B, S, D), the encoder's output.
            valid: (B, S) bool, the source positions that are not padding.
        """
        return source_attention(self.layer.encoder_attn, memory, valid)

    def self_attention(self, x: Tensor, valid: Tensor | None, unique: UniqueInputs | None) -> Tensor:
        """Return x plus its self-attention.

        Args:
            x: (M, L, D).
            valid: (M, 1, L or 1, L) bool, the keys that each query sees; None: all.
            unique: the different inputs, if x depends only on symbol and position; otherwise None.

        Returns:
            (M, L, D).
        """
        y = self._pre_norm(x)
        y = y if unique is None else y.flatten(0, 1)[unique.occurrence]  # (U, D)
        projected = linear(y, self.weight, self.bias)
        projected = projected if unique is None else F.embedding(unique.inverse, projected)  # (M, L, 3 D)
        queries, keys, values = (split_heads(part, self.attention.num_heads) for part in projected.chunk(3, -1))
        attended = F.scaled_dot_product_attention(queries, keys, values, valid)
        return x + apply_linear(self.attention.out_proj, join_heads(attended))

    def self_attention_at(self, x: Tensor, valid: Tensor | None, positions: Tensor) -> Tensor:
        """Return x plus its self-attention at a few positions.

        The projections of keys and values are applied to the few queries instead of to all inputs:
        q . (W_k y + b_k) = (W_k^T q) . y up to a constant that cancels in the softmax, and
        sum_j a_j (W_v y_j + b_v) = W_v (sum_j a_j y_j) + b_v.

        Args:
            x: (M, L, D).
            valid: as in `self_attention`.
            positions: (M, Q) long.

        Returns:
            (M, Q, D).
        """
        attention, heads = self.attention, self.attention.num_heads
        y, index = self._pre_norm(x), positions[..., None].expand(-1, -1, x.size(-1))
        queries = apply_linear(attention.q_proj, y.gather(1, index)).unflatten(-1, (heads, -1))  # (M, Q, H, D / H)
        queries = torch.einsum("mqhe,hed->mqhd", queries, attention.k_proj.weight.unflatten(0, (heads, -1)))
        scale = 1 / math.sqrt(attention.head_dim)
        queries, y = queries.flatten(1, 2)[:, None], y[:, None]  # (M, 1, Q H, D), (M, 1, L, D)
        if valid is not None and valid.size(2) > 1:  # queries see different keys, but all heads of a query the same
            valid = valid.gather(2, positions[:, None, :, None].expand(-1, -1, -1, x.size(1)))
            valid = valid.repeat_interleave(heads, 2)  # (M, 1, Q H, L)
        attended = F.scaled_dot_product_attention(queries, y, y, valid, scale=scale)
        attended = attended[:, 0].unflatten(1, (-1, heads))  # (M, Q, H, D)
        values = torch.einsum("mqhd,hed->mqhe", attended, attention.v_proj.weight.unflatten(0, (heads, -1))).flatten(2)
        return x.gather(1, index) + apply_linear(attention.out_proj, values + attention.v_proj.bias)

    def forward(self, x: Tensor, source: SourceAttention, context: Tensor) -> Tensor:
        """Return the layer's output, given x plus its self-attention.

        Args:
            x: (M, Q, D).
            source: the result of `prepare_source`.
            context: (M,) long, the sentence of each row.

        Returns:
            (M, Q, D).
        """
        layer = self.layer
        x = self._post_norm(x, layer.self_attn_layer_norm)
        x = x + source(layer.encoder_attn_layer_norm(x) if layer.normalize_before else x, context)
        x = self._post_norm(x, layer.encoder_attn_layer_norm)
        y = layer.final_layer_norm(x) if layer.normalize_before else x
        x = x + apply_linear(layer.fc2, apply_linear(layer.fc1, y, layer.activation_fn))
        return self._post_norm(x, layer.final_layer_norm)

    def _pre_norm(self, x: Tensor) -> Tensor:
        return self.layer.self_attn_layer_norm(x) if self.layer.normalize_before else x

    def _post_norm(self, x: Tensor, norm: nn.Module) -> Tensor:
        return x if self.layer.normalize_before else norm(x)
