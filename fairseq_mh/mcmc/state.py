"""The state of a chain: its tokens, and what is known of them. All tensors have one entry a chain."""

from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from fairseq_mh.mcmc.energy import ENERGIES
from fairseq_mh.mcmc.masked_lm import MaskedLM

Parts = TypeVar("Parts", bound=tuple)  # a NamedTuple of tensors, or of such tuples
FREE, FIXED, FIRST_PHRASE = range(3)  # of `State.held`


class State(NamedTuple):
    """The states of N chains."""

    tokens: Tensor  # (N, T) long, padded
    context: Tensor  # (N,) long: the model's context of each chain
    scores: Tensor  # (N, T, E) nats: minus each position's share of each of `Energy.columns`, 0 at padding
    features: Tensor  # (N, T, D): of each position, it alone being masked
    known: Tensor  # (N, T) bool: the positions whose features are of these tokens; elsewhere they mean nothing
    held: Tensor  # (N, T) long: FREE, FIXED for good (padding is), or, from FIRST_PHRASE on, a phrase's number

    @property
    def free(self) -> Tensor:
        """The positions that moves draw again: (N, T) bool."""
        return self.held.eq(FREE)


def unevaluated(
    lm: MaskedLM, tokens: Tensor, context: Tensor, columns: int = len(ENERGIES), held: Tensor | None = None
) -> State:
    """Return the state of these tokens (N, T) in these contexts (N,) with nothing evaluated: its scores are NaN.

    Args:
        columns: of the scores.
        held: (N, T) long, as of `State`, or bool, the positions that keep their symbols; none unless given.
    """
    features = lm.no_features(*tokens.shape)
    dtype = torch.promote_types(features.dtype, torch.float32)  # of logits
    scores = torch.full((*tokens.shape, columns), torch.nan, dtype=dtype, device=tokens.device)
    scores = scores.masked_fill(tokens.eq(lm.pad)[..., None], 0)
    held = torch.zeros_like(tokens) if held is None else held.long()
    held = held.masked_fill(tokens.eq(lm.pad), FIXED)
    return State(tokens, context, scores, features, torch.zeros_like(tokens, dtype=torch.bool), held)


def select(parts: Parts, which: Tensor) -> Parts:
    """Return the entries at these indices (M,) long, or where `which` (N,) bool is true."""
    return type(parts)(*(part[which] if isinstance(part, Tensor) else select(part, which) for part in parts))


def repeat(state: State, times: int) -> State:
    """Return each entry so many times, but the large features, and whether they are known, once (entry n // times)."""
    others = (name for name in State._fields if name not in ("features", "known"))
    return state._replace(**{name: getattr(state, name).repeat_interleave(times, 0) for name in others})


def put(parts: Parts, which: Tensor, entries: Parts) -> None:
    """Write entries at these indices (M,) long, in place."""
    for part, new in zip(parts, entries, strict=True):
        if isinstance(part, Tensor):
            part.index_copy_(0, which, new)
        else:
            put(part, which, new)


def where(condition: Tensor, one: State, other: State) -> State:
    """Return one of two states chain by chain: the first where `condition` (N,) bool is true."""
    pairs = zip(one, other, strict=True)
    return State(*(a.where(condition.view(-1, *[1] * (a.dim() - 1)), b) for a, b in pairs))
