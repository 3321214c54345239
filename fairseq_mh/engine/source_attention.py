"""A decoder layer's attention to the source, with all that depends on the source alone computed once a sentence.

`Folded` moves the projections of queries and outputs there as well. With x the layer's input, head h's score of
source position s is q_h . k_hs = x . (W_qh^T k_hs) + b_qh . k_hs, and its part of the output is a_hs (W_oh v_hs):
two products with S vectors a head take the place of four, which are fewer wherever H S < D.
"""

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from fairseq.modules.multihead_attention import MultiheadAttention
from torch import Tensor

from fairseq_mh.engine.linear import apply_linear


class SourceAttention(Protocol):
    """One layer's attention to each of B sentences."""

    def __call__(self, x: Tensor, context: Tensor) -> Tensor:
        """Attend to sentence `context[m]`: (M, Q, D), (M,) long -> (M, Q, D)."""
        ...


class Plain:
    """Keys and values, gathered for the rows: for long sources, and for accelerators."""

    def __init__(self, attention: MultiheadAttention, memory: Tensor, valid: Tensor):
        self.attention = attention
        self.keys, self.values = keys_values(attention, memory)  # (B, H, S, D / H)
        self.valid = None if valid.all() else valid[:, None, None]

    def __call__(self, x: Tensor, context: Tensor) -> Tensor:
        queries = split_heads(apply_linear(self.attention.q_proj, x), self.attention.num_heads)
        keys, values = self.keys.index_select(0, context), self.values.index_select(0, context)
        valid = None if self.valid is None else self.valid[context]
        found = F.scaled_dot_product_attention(queries, keys, values, valid)
        return apply_linear(self.attention.out_proj, join_heads(found))


class Folded:
    """Keys that meet the layer's input, and values that are its output: a product a sentence, without padding."""

    def __init__(self, attention: MultiheadAttention, memory: Tensor, valid: Tensor):
        self.heads, self.bias = attention.num_heads, attention.out_proj.bias
        scale = 1 / math.sqrt(attention.head_dim)
        into = attention.q_proj.weight.unflatten(0, (self.heads, -1)) * scale  # (H, D / H, D)
        offset = attention.q_proj.bias.unflatten(0, (self.heads, -1, 1)) * scale  # (H, D / H, 1)
        out = attention.out_proj.weight.t().unflatten(0, (self.heads, -1))  # (H, D / H, D)
        pairs = list(zip(*keys_values(attention, memory), valid, strict=True))
        self.keys = [(keys[:, here] @ into).flatten(0, 1) for keys, _, here in pairs]  # (H S, D) a sentence
        self.offsets = [(keys[:, here] @ offset).flatten() for keys, _, here in pairs]  # (H S,)
        self.values = [(values[:, here] @ out).flatten(0, 1).t().contiguous() for _, values, here in pairs]  # (D, H S)

    def __call__(self, x: Tensor, context: Tensor) -> Tensor:
        sentences, counts = context.unique_consecutive(return_counts=True)
        groups = x.split(counts.tolist())  # rows of one sentence, side by side
        found = [self._attend(group, sentence) for group, sentence in zip(groups, sentences.tolist(), strict=True)]
        return torch.cat(found)

    def _attend(self, x: Tensor, sentence: int) -> Tensor:
        scores = F.linear(x, self.keys[sentence], self.offsets[sentence])  # (M, Q, H S)
        shares = scores.unflatten(-1, (self.heads, -1)).softmax(-1).flatten(-2)
        return F.linear(shares, self.values[sentence], self.bias)


def source_attention(attention: MultiheadAttention, memory: Tensor, valid: Tensor) -> SourceAttention:
    """What is cheaper for these sources: (B, S, D), and (B, S) bool, where they are no padding."""
    vectors = attention.num_heads * memory.size(1)
    return (Folded if vectors < attention.embed_dim and memory.is_cpu else Plain)(attention, memory, valid)


def keys_values(attention: MultiheadAttention, memory: Tensor) -> tuple[Tensor, Tensor]:
    """(B, S, D) -> twice (B, H, S, D / H)."""
    keys, values = apply_linear(attention.k_proj, memory), apply_linear(attention.v_proj, memory)
    return split_heads(keys, attention.num_heads).contiguous(), split_heads(values, attention.num_heads).contiguous()


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(M, L, D) -> (M, H, L, D / H)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(M, H, L, D / H) -> (M, L, D)."""
    return x.transpose(1, 2).flatten(2)
