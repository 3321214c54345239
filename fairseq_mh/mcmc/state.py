"""The state of a chain: its tokens, and what has been evaluated for them. All tensors have one entry per chain."""

from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from fairseq_mh.mcmc.masked_lm import MaskedLM

Parts = TypeVar("Parts", bound=tuple)  # a NamedTuple of tensors, or of such tuples
FREE, FIXED, FIRST_PHRASE = range(3)  # values of `State.held`


class State(NamedTuple):
    """The states of N chains.

    Attributes:
        tokens: (N, T) long, padded.
        context: (N,) long, the model's context of each chain.
        scores: (N, T, E) nats, minus each position's share of each term of the energy, 0 at padding; NaN where a term
            has not been evaluated.
        features: (N, T, D), the features of each position when only that position is masked.
        known: (N, T) bool, whether a position's features belong to these tokens; otherwise they mean nothing.
        held: (N, T) long: FREE; FIXED, which includes padding; or the number of a phrase, from FIRST_PHRASE on.
    """

    tokens: Tensor
    context: Tensor
    scores: Tensor
    features: Tensor
    known: Tensor
    held: Tensor

    @property
    def free(self) -> Tensor:
        """The positions that moves redraw: (N, T) bool."""
        return self.held.eq(FREE)


class Cost(NamedTuple):
    """The rows spent on each of N chains, sentences or sequences.

    Attributes:
        rows: (N,) long, decoder rows of masked language models: one sequence in one pass is one row.
        expert_rows: (N,) long, rows of autoregressive models.
    """

    rows: Tensor
    expert_rows: Tensor

    def plus(self, rows: Tensor, expert: bool = False) -> "Cost":
        """Return the cost with these rows (N,) added; if `expert` is true, they are of an autoregressive model."""
        return Cost(self.rows, self.expert_rows + rows) if expert else Cost(self.rows + rows, self.expert_rows)


def no_cost(like: Tensor) -> Cost:
    """Return a cost of 0 for each entry of a tensor (N,)."""
    return Cost(torch.zeros_like(like), torch.zeros_like(like))


def unevaluated(lm: MaskedLM, tokens: Tensor, context: Tensor, columns: int = 1, held: Tensor | None = None) -> State:
    """Return the state of these tokens (N, T) in these contexts (N,), with nothing evaluated: its scores are NaN.

    Args:
        lm: the model.
        tokens: (N, T) long, padded with `lm.pad`.
        context: (N,) long.
        columns: the number of columns of the scores.
        held: (N, T) long, as in `State`, or bool, the positions that keep their symbols; by default there are none.
    """
    features = lm.no_features(*tokens.shape)
    dtype = torch.promote_types(features.dtype, torch.float32)  # the dtype of logits
    scores = torch.full((*tokens.shape, columns), torch.nan, dtype=dtype, device=tokens.device)
    scores = scores.masked_fill(tokens.eq(lm.pad)[..., None], 0)
    held = torch.zeros_like(tokens) if held is None else held.long()
    held = held.masked_fill(tokens.eq(lm.pad), FIXED)
    return State(tokens, context, scores, features, torch.zeros_like(tokens, dtype=torch.bool), held)


def select(parts: Parts, which: Tensor) -> Parts:
    """Return the entries at these indices (M,) long, or where `which` (N,) bool is true."""
    return type(parts)(*(part[which] if isinstance(part, Tensor) else select(part, which) for part in parts))


def repeat(state: State, times: int) -> State:
    """Repeat each entry `times` times, but not the large features and `known`: entry n has those at n // times."""
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
