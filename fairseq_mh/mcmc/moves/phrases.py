"""Move whole phrases: one phrase changes its place, and the tokens between its old and its new place shift.

The state of a chain that holds phrases is X together with the place of each phrase. The move takes a phrase out and
puts it back at a place that is chosen uniformly. The other tokens close the gap and make room; fixed positions stay.
The way back has the same probability, so nothing enters the ratio. A candidate that would split a phrase or break the
order has probability 0: the chain stays where it is.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.mcmc.masked_lm import MaskedLM
from fairseq_mh.mcmc.move import Move, Proposed, Streams, SweepPlan, Update
from fairseq_mh.mcmc.moves.masked import MaskedConditional
from fairseq_mh.mcmc.state import FIRST_PHRASE, FIXED, State


@dataclass(frozen=True)
class PhraseMove(Move):
    """Moves each phrase once in a sweep, and then makes the updates of another move.

    Args:
        others: the move that redraws free positions.
        ordered: whether phrases must stay in the order of their numbers.
    """

    others: Move = field(default_factory=MaskedConditional)
    ordered: bool = False

    @property
    def reads_scores(self) -> bool:
        return self.others.reads_scores

    def scan(self, free: int, phrases: int, block_size: int, streams: Streams) -> SweepPlan:
        plan = self.others.scan(free, phrases, block_size, streams)
        numbers = np.tile(np.arange(phrases) + FIRST_PHRASE, (len(streams), 1))
        nothing_masked = np.zeros((len(streams), phrases, free), dtype=bool)
        return SweepPlan(
            np.concatenate([nothing_masked, plan.ranks], axis=1), np.concatenate([numbers, plan.phrase], axis=1)
        )

    def draws(self, plan: SweepPlan) -> int:
        return max(self.others.draws(plan), int(plan.phrase.any()))

    def reuses_features(self, update: Update) -> Tensor:
        return self.others.reuses_features(update) | update.phrase.ne(0)

    def propose(self, lm: MaskedLM, state: State, update: Update, uniforms: Tensor) -> Proposed:
        proposed = self.others.propose(lm, state, update, uniforms)
        if not update.phrase.numel():
            return proposed
        target = destinations(state.held, update.phrase, uniforms[:, 0])
        held = state.held.scatter(1, target, state.held)
        tokens = state.tokens.scatter(1, target, state.tokens)
        moves = (update.phrase.ge(FIRST_PHRASE) & self._possible(state.held, held))[:, None]
        return proposed._replace(
            candidate=torch.where(moves, tokens, proposed.candidate), held=torch.where(moves, held, state.held)
        )

    def log_choice(self, state: State, order: Tensor) -> Tensor | float:
        return self.others.log_choice(state, order)

    def _possible(self, before: Tensor, after: Tensor) -> Tensor:
        """Return (N,) bool: no phrase is split, and the order, if there is one, is kept. Args are (N, T) long."""
        possible = _parts(after) == _parts(before)
        if self.ordered:
            phrases = after.masked_fill(after < FIRST_PHRASE, 0)
            possible = possible & ~(phrases.gt(0) & phrases.lt(phrases.cummax(1).values)).any(1)
        return possible


def destinations(held: Tensor, phrase: Tensor, uniforms: Tensor) -> Tensor:
    """Return where each position goes when a phrase moves: (N, T) long.

    Args:
        held: (N, T) long, as in `State`.
        phrase: (N,) long, the number of the phrase.
        uniforms: (N,) in [0, 1), which choose the new place of the phrase.
    """
    block = held.eq(phrase[:, None]) & phrase.ge(FIRST_PHRASE)[:, None]
    shifting = held.ne(FIXED)  # padding is fixed, too
    order = (~shifting).long().argsort(dim=1, stable=True)  # the k-th position that shifts
    length = block.sum(1)
    places = shifting.sum(1) - length + 1
    place = (uniforms * places).long().minimum(places - 1)[:, None]
    rank = (shifting & ~block).cumsum(1) - 1  # of each token outside the phrase
    within = block.cumsum(1) - 1  # of each token of the phrase
    new_rank = torch.where(block, place + within, rank + (rank >= place) * length[:, None]).clamp(min=0)
    site = torch.arange(block.size(1), device=block.device).expand_as(order)
    return torch.where(shifting, order.gather(1, new_rank), site)


def _parts(held: Tensor) -> Tensor:
    """Return the number of unbroken parts (N,) long that phrases are in."""
    begins = held.ge(FIRST_PHRASE)
    begins[:, 1:] &= held[:, 1:] != held[:, :-1]
    return begins.sum(1)
