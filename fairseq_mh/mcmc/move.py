"""The protocol of a move: its scan, and how it draws candidates.

The kernel knows moves only by this protocol. A move proposes X' from X with probability q(X' | X), and returns the logs
of that and of q(X | X'). If it chooses positions by the state's scores, `log_choice` is the log-probability of the
choice. The kernel adds it to the ratio for both directions, because only the kernel knows the candidate's scores.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

from fairseq_mh.mcmc.masked_lm import MaskedLM
from fairseq_mh.mcmc.state import State

NOWHERE = -1  # fills an order after its last position
Streams = Sequence[np.random.Generator]  # one for each chain


class SweepPlan(NamedTuple):
    """The U updates of one sweep of N chains that have equally many free positions, L, and equally many phrases.

    Attributes:
        ranks: (N, U, L) bool, the positions that an update masks, as ranks among the chain's free positions.
        phrase: (N, U) int, the number of the phrase that an update moves, as in `State.held`; 0 for masking updates.
    """

    ranks: np.ndarray
    phrase: np.ndarray


class Update(NamedTuple):
    """One planned update of each of N chains.

    Attributes:
        masked: (N, T) bool, the positions to mask; a chain with nothing masked and no phrase proposes its own state.
        phrase: (N,) long, the number of the phrase to move; 0 for masking updates.
    """

    masked: Tensor
    phrase: Tensor


class Proposed(NamedTuple):
    """A candidate for each of N chains.

    Attributes:
        candidate: (N, T) long, its tokens.
        held: (N, T) long, its held positions, as in `State`.
        log_forward: (N,) nats, log q(candidate | state).
        log_reverse: (N,) nats, log q(state | candidate).
        rows: (N,) long, the decoder rows spent.
        masked: (N, T) bool, the positions that were redrawn.
        order: (N, K) long, the positions chosen by their scores, in the order of the choice, filled with NOWHERE.
    """

    candidate: Tensor
    held: Tensor
    log_forward: Tensor
    log_reverse: Tensor
    rows: Tensor
    masked: Tensor
    order: Tensor


class Move(Protocol):
    """A Metropolis-Hastings move."""

    @property
    def reads_scores(self) -> bool:
        """Whether the move reads the scores of states, which degenerate Gibbs does not have."""
        return False

    def scan(self, free: int, phrases: int, block_size: int, streams: Streams) -> SweepPlan:
        """Plan a sweep of N chains.

        Args:
            free: L, the number of free positions of each chain; may be 0.
            phrases: the number of phrases that each chain holds.
            block_size: the number of positions to mask at once.
            streams: the random streams of the N chains.
        """
        ...

    def draws(self, plan: SweepPlan) -> int:
        """Return how many uniforms each update of a plan reads."""
        ...

    def reuses_features(self, update: Update) -> Tensor:
        """Return which updates take no decoder row if all features of the state are known.

        Returns:
            (N,) bool; or (N, K) bool for an update of shapes (N, K, T) and (N, K).
        """
        ...

    def propose(self, lm: MaskedLM, state: State, update: Update, uniforms: Tensor) -> Proposed:
        """Draw a candidate for each chain.

        Args:
            lm: the model.
            state: the states of N chains, or a result of `repeat` with N entries.
            update: the update of each of the N chains.
            uniforms: (N, S) in [0, 1); an update reads the number of them that `draws` returns.
        """
        ...

    def log_choice(self, state: State, order: Tensor) -> Tensor | float:
        """Return the log-probability (N,) of choosing these positions (N, K), in this order, in this state; or 0."""
        return 0.0
