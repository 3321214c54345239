"""A decoder layer's attention to the source, whose source-only parts are computed once for each sentence.

`FoldedAttention` also folds the projections of queries and outputs into the part that is computed once. With x the
layer's input, head h's score of source position s is q_h . k_hs = x . (W_qh^T k_hs) + b_qh . k_hs, and its part of the
output is a_hs (W_oh v_hs). Two products with S vectors a head thus replace four products, which is less work if
H S < D.

Shapes: B sentences, S source positions, D features, H heads, M rows, Q queries of a row.
"""

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from fairseq.modules.multihead_attention import MultiheadAttention
from torch import Tensor

from fairseq_mh.engine.linear import apply_linear


class SourceAttention(Protocol):
    """A callable that is one layer's attention to each of B sentences."""

    def __call__(self, x: Tensor, context: Tensor) -> Tensor:
        """Let each row attend to its sentence.

        Args:
            x: (M, Q, D).
            context: (M,) long, the sentence of each row.

        Returns:
            (M, Q, D).
        """
        ...


class PlainAttention:
    """Attention that gathers the keys and values of each row's sentence: for long sources, and for accelerators.

    Args:
        attention: the layer's attention to the source.
        memory: (B, S, D), the encoder's output.
        valid: (B, S) bool, the source positions that are not padding.
    """

    def __init__(self, attention: MultiheadAttention, memory: Tensor, valid: Tensor):
        self.attention = attention
        self.keys, self.values = project_keys_and_values(attention, memory)  # (B, H, S, D / H)
        self.valid = None if valid.all() else valid[:, None, None]

    def __call__(self, x: Tensor, context: Tensor) -> Tensor:
        queries = split_heads(apply_linear(self.attention.q_proj, x), self.attention.num_heads)
        keys, values = self.keys.index_select(0, context), self.values.index_select(0, context)
        valid = None if self.valid is None else self.valid[context]
        attended = F.scaled_dot_product_attention(queries, keys, values, valid)
        return apply_linear(self.attention.out_proj, join_heads(attended))


class FoldedAttention:
    """Attention in two products a sentence: its keys multiply the layer's input, and its values are in output space.

    The arguments are those of `PlainAttention`. Padding is left out of the products.
    """

    def __init__(self, attention: MultiheadAttention, memory: Tensor, valid: Tensor):
        self.heads, self.bias = attention.num_heads, attention.out_proj.bias
        scale = 1 / math.sqrt(attention.head_dim)
        query_weight = attention.q_proj.weight.unflatten(0, (self.heads, -1)) * scale  # (H, D / H, D)
        query_bias = attention.q_proj.bias.unflatten(0, (self.heads, -1, 1)) * scale  # (H, D / H, 1)
        output_weight = attention.out_proj.weight.t().unflatten(0, (self.heads, -1))  # (H, D / H, D)
        self.keys, self.offsets, self.values = [], [], []  # one tensor for each sentence
        for keys, values, inside in zip(*project_keys_and_values(attention, memory), valid, strict=True):
            self.keys.append((keys[:, inside] @ query_weight).flatten(0, 1))  # (H S, D)
            self.offsets.append((keys[:, inside] @ query_bias).flatten())  # (H S,)
            self.values.append((values[:, inside] @ output_weight).flatten(0, 1).t().contiguous())  # (D, H S)

    def __call__(self, x: Tensor, context: Tensor) -> Tensor:
        sentences, counts = context.unique_consecutive(return_counts=True)
        groups = x.split(counts.tolist())  # neighbouring rows of one sentence
        attended = [self._attend(group, sentence) for group, sentence in zip(groups, sentences.tolist(), strict=True)]
        return torch.cat(attended)

    def _attend(self, x: Tensor, sentence: int) -> Tensor:
        scores = F.linear(x, self.keys[sentence], self.offsets[sentence])  # (M, Q, H S)
        weights = scores.unflatten(-1, (self.heads, -1)).softmax(-1).flatten(-2)
        return F.linear(weights, self.values[sentence], self.bias)


def source_attention(attention: MultiheadAttention, memory: Tensor, valid: Tensor) -> SourceAttention:
    """Return the attention that is less work for these sources; the arguments are those of `PlainAttention`."""
    vectors = attention.num_heads * memory.size(1)
    folded = vectors < attention.embed_dim and memory.is_cpu
    return (FoldedAttention if folded else PlainAttention)(attention, memory, valid)


def project_keys_and_values(attention: MultiheadAttention, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Return the keys and the values of the encoder's output: (B, S, D) -> twice (B, H, S, D / H)."""
    keys, values = apply_linear(attention.k_proj, memory), apply_linear(attention.v_proj, memory)
    return split_heads(keys, attention.num_heads).contiguous(), split_heads(values, attention.num_heads).contiguous()


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Cut the features into heads: (M, L, D) -> (M, H, L, D / H)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """Undo `split_heads`: (M, H, L, D / H) -> (M, L, D)."""
    return x.transpose(1, 2).flatten(2)
