"""Informed proposals: redraw the positions whose symbols are uncertain more often than the others.

An update draws as many positions as its scan masks, wherever they are. They are chosen one by one without replacement,
each with a probability proportional to FLOOR + 1 - exp(-share): with E_norm, to FLOOR and the conditional's own
probability that the symbol there is another. Their order is a part of the move. The probability of that order changes
with the state and belongs into the ratio: the kernel adds it, because only the kernel knows the candidate's scores.
Where all positions are drawn there is no choice, and no order.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.mcmc.conditional import Conditional, conditional
from fairseq_mh.mcmc.masked_lm import MaskedLM
from fairseq_mh.mcmc.moves.masked import Proposed, draw_masked
from fairseq_mh.mcmc.scan import Streams, sequential_scan
from fairseq_mh.mcmc.state import State

FLOOR = 0.05  # what even a certain position weighs
NOWHERE = -1  # in an order, behind its last position


@dataclass(frozen=True)
class Informed:
    """A `Proposal` that chooses uncertain positions and draws them from one pass.

    Args:
        log_q: `conditional` with its settings.
    """

    log_q: Conditional = conditional

    def scan_positions(self, length: int, block_size: int, streams: Streams) -> np.ndarray:
        """Return as many updates as a left-to-right scan has; of each, only the number of positions counts."""
        return sequential_scan(length, block_size, streams)

    def draws(self, masked: np.ndarray) -> int:
        return 2 * masked.shape[2]

    def __call__(self, lm: MaskedLM, state: State, masked: Tensor, uniforms: Tensor, certainty: int) -> Proposed:
        length, free, count = masked.size(1), state.free, masked.sum(1, keepdim=True)
        # The largest log-weights plus Gumbel noise are a draw without replacement (Yellott, 1977; Kool et al., 2019).
        noise = -(-for_choice(uniforms)[:, :length].log()).log()
        noise = noise.gather(1, (free.cumsum(1) - 1).clamp(min=0))
        weights = site_weights(state.scores, certainty).masked_fill(~free, 0)
        ranked = (weights.log() + noise).argsort(dim=1, descending=True)
        taken = torch.arange(length, device=masked.device) < count
        chosen = torch.zeros_like(masked).scatter(1, ranked, taken)
        order = ranked.masked_fill(~taken | (count == free.sum(1, keepdim=True)), NOWHERE)
        return draw_masked(lm, state, chosen, for_symbols(uniforms), self.log_q)._replace(order=order)


def for_choice(uniforms: Tensor) -> Tensor:
    """Return the uniforms that choose positions, the t-th one for the t-th free one: (N, 2T) -> (N, T)."""
    return uniforms[:, 0::2]


def for_symbols(uniforms: Tensor) -> Tensor:
    """Return the uniforms that draw symbols, the k-th one for the k-th chosen position from the left: as above."""
    return uniforms[:, 1::2]


def log_choice(scores: Tensor, free: Tensor, order: Tensor, certainty: int) -> Tensor:
    """Return the log-probability of choosing these positions in this order.

    Args:
        scores: (N, T, E) nats, of the state.
        free: (N, T) bool, the positions to choose from.
        order: (N, K) long, filled up with NOWHERE.
        certainty: the column of the scores that says how certain each position is.

    Returns:
        (N,) nats; 0 where nothing was chosen.
    """
    taken, weights = order.ne(NOWHERE), site_weights(scores, certainty).masked_fill(~free, 0)
    own = weights.gather(1, order.clamp(min=0)).masked_fill(~taken, 0)
    outside = torch.ones(len(order), free.size(1) + 1, dtype=torch.bool, device=order.device)
    outside = outside.scatter(1, order.where(taken, free.size(1)), False)[:, :-1]
    left = own.flip(1).cumsum(1).flip(1) + (weights * outside).sum(1, keepdim=True)
    return (own / left).where(taken, 1).log().sum(1)


def site_weights(scores: Tensor, certainty: int) -> Tensor:
    """Return the weight of each position in an informed choice: (N, T, E) -> (N, T)."""
    return FLOOR - scores[..., certainty].clamp(max=0).expm1()
