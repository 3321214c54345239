"""What a chain is at: its tokens, and what is known of them. All tensors have one entry a chain."""

from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from fairseq_mh.mcmc.energy import COLUMNS
from fairseq_mh.mcmc.masked_lm import MaskedLM

Parts = TypeVar("Parts", bound=tuple)  # a NamedTuple of tensors, or of such tuples


class State(NamedTuple):
    tokens: Tensor  # (N, T) long, padded
    context: Tensor  # (N,) long: the model's context of each chain
    scores: Tensor  # (N, T, E + 1) nats: minus each position's share of each of COLUMNS, 0 at padding
    features: Tensor  # (N, T, D): of each position, it alone being masked
    known: Tensor  # (N, T) bool: whose features are of these tokens; of the others, they mean nothing


def unknown(lm: MaskedLM, tokens: Tensor, context: Tensor) -> State:
    """These tokens (N, T) of these contexts (N,), of which nothing was evaluated: their scores are NaN."""
    features = lm.no_features(*tokens.shape)
    dtype = torch.promote_types(features.dtype, torch.float32)  # of logits
    scores = torch.full((*tokens.shape, len(COLUMNS)), torch.nan, dtype=dtype, device=tokens.device)
    scores = scores.masked_fill(tokens.eq(lm.pad)[..., None], 0)
    return State(tokens, context, scores, features, torch.zeros_like(tokens, dtype=torch.bool))


def select(parts: Parts, which: Tensor) -> Parts:
    """The entries of these places (M,) long, or where `which` (N,) bool is true."""
    return type(parts)(*(part[which] if isinstance(part, Tensor) else select(part, which) for part in parts))


def repeat(state: State, times: int) -> State:
    """Each entry so many times, but for features, which are large, and whether they are known: at n // times."""
    others = (name for name in State._fields if name not in ("features", "known"))
    return state._replace(**{name: getattr(state, name).repeat_interleave(times, 0) for name in others})


def put(parts: Parts, which: Tensor, entries: Parts) -> None:
    """Set the entries of these places (M,) long, in place."""
    for part, new in zip(parts, entries, strict=True):
        if isinstance(part, Tensor):
            part.index_copy_(0, which, new)
        else:
            put(part, which, new)


def where(condition: Tensor, one: State, other: State) -> State:
    """Chain by chain one of two states: condition (N,) bool."""
    pairs = zip(one, other, strict=True)
    return State(*(a.where(condition.view(-1, *[1] * (a.dim() - 1)), b) for a, b in pairs))
