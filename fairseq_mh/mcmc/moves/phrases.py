"""A move for chains that must hold phrases: one phrase changes its place, and the tokens between shift.

The state of such a chain is (X, where each phrase stands). The phrase is taken out and put back at one of all places,
equally often, and the others close up and make room around fixed positions; the way back is as likely, so that nothing
enters the ratio. A candidate in which a phrase would be split or the order broken has probability 0: the chain stays
where it is.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fairseq_mh.mcmc.moves.masked import Proposed
from fairseq_mh.mcmc.state import FIRST_PHRASE, FIXED, State


@dataclass(frozen=True)
class Relocation:
    """The move of phrases.

    Args:
        ordered: phrases stay in the order of their numbers.
    """

    ordered: bool = False

    def __call__(self, state: State, proposed: Proposed, phrase: Tensor, uniforms: Tensor) -> Proposed:
        """Return the proposals with those of chains whose phrase moves.

        Args:
            state: of N chains.
            proposed: for each of them; the state itself where a phrase moves.
            phrase: (N,) long, the number of the phrase that moves, as in `State.held`; 0 where none does.
            uniforms: (N,) in [0, 1), which choose the places.
        """
        block = state.held.eq(phrase[:, None]) & phrase.ge(FIRST_PHRASE)[:, None]
        shifting = state.held.ne(FIXED)  # padding is fixed, too
        order = (~shifting).long().argsort(dim=1, stable=True)  # the k-th position that shifts
        length = block.sum(1)
        places = shifting.sum(1) - length + 1
        place = (uniforms * places).long().minimum(places - 1)[:, None]
        rank = (shifting & ~block).cumsum(1) - 1  # of the others
        within = block.cumsum(1) - 1  # the phrase
        among = torch.where(block, place + within, rank + (rank >= place) * length[:, None]).clamp(min=0)
        site = torch.arange(block.size(1), device=block.device).expand_as(order)
        target = torch.where(shifting, order.gather(1, among), site)
        held = state.held.scatter(1, target, state.held)
        tokens = proposed.candidate.scatter(1, target, proposed.candidate)
        moves = (block.any(1) & self._possible(state.held, held))[:, None]
        return proposed._replace(
            candidate=torch.where(moves, tokens, proposed.candidate), held=torch.where(moves, held, state.held)
        )

    def _possible(self, before: Tensor, after: Tensor) -> Tensor:
        """Return where (N,) bool no phrase is split, and the order, if there is one, is kept: (N, T) long each."""
        possible = _parts(after) == _parts(before)
        if self.ordered:
            phrases = after.masked_fill(after < FIRST_PHRASE, 0)
            possible = possible & ~(phrases.gt(0) & phrases.lt(phrases.cummax(1).values)).any(1)
        return possible


def _parts(held: Tensor) -> Tensor:
    """Return in how many parts (N,) long the phrases stand."""
    begins = held.ge(FIRST_PHRASE)
    begins[:, 1:] &= held[:, 1:] != held[:, :-1]
    return begins.sum(1)
