"""Informed proposals: redraw the positions whose symbols are uncertain more often than the others.

An update redraws as many positions as its scan masks, wherever they are. They are chosen one by one without
replacement, each with a probability proportional to FLOOR + 1 - exp(-share). With E_norm that is FLOOR plus the
conditional probability that another symbol stands there. The order of the choice is a part of the move. Its probability
changes with the state, so it belongs in the ratio (`log_choice`). If all positions are redrawn, there is no choice and
no order.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fairseq_mh.mcmc.masked_lm import MaskedLM
from fairseq_mh.mcmc.move import NOWHERE, Proposed, SweepPlan, Update
from fairseq_mh.mcmc.moves.masked import MaskedConditional, draw_masked
from fairseq_mh.mcmc.state import State

FLOOR = 0.05  # the weight of a position whose symbol is certain


@dataclass(frozen=True)
class Informed(MaskedConditional):
    """Chooses uncertain positions, and redraws them from one pass.

    Args:
        scan_name: a name of `SCANS`; only the number of positions in each of its updates is used.
        log_q: `conditional` with its settings.
        certainty: the column of the scores that tells how certain each symbol is (`Energy.certainty`).
    """

    scan_name: str = "sequential"
    certainty: int = 0

    @property
    def reads_scores(self) -> bool:
        return True

    def draws(self, plan: SweepPlan) -> int:
        return 2 * plan.ranks.shape[2]

    def propose(self, lm: MaskedLM, state: State, update: Update, uniforms: Tensor) -> Proposed:
        masked = update.masked
        length, free, count = masked.size(1), state.free, masked.sum(1, keepdim=True)
        choice, symbols = uniforms[:, 0::2], uniforms[:, 1::2]  # of the t-th free position; at the k-th chosen one
        # The largest log-weights plus Gumbel noise are a draw without replacement (Yellott, 1977; Kool et al., 2019).
        noise = -(-choice[:, :length].log()).log()
        noise = noise.gather(1, (free.cumsum(1) - 1).clamp(min=0))
        weights = site_weights(state.scores[..., self.certainty]).masked_fill(~free, 0)
        ranked = (weights.log() + noise).argsort(dim=1, descending=True)
        taken = torch.arange(length, device=masked.device) < count
        chosen = torch.zeros_like(masked).scatter(1, ranked, taken)
        order = ranked.masked_fill(~taken | (count == free.sum(1, keepdim=True)), NOWHERE)
        return draw_masked(lm, state, chosen, symbols, self.log_q)._replace(order=order)

    def log_choice(self, state: State, order: Tensor) -> Tensor:
        return log_choice(state.scores[..., self.certainty], state.free, order)


def log_choice(scores: Tensor, free: Tensor, order: Tensor) -> Tensor:
    """Return the log-probability of choosing these positions in this order.

    Args:
        scores: (N, T) nats, log-probabilities of the symbols of the state.
        free: (N, T) bool, the positions to choose from.
        order: (N, K) long, filled with NOWHERE.

    Returns:
        (N,) nats; 0 if nothing was chosen.
    """
    taken, weights = order.ne(NOWHERE), site_weights(scores).masked_fill(~free, 0)
    own = weights.gather(1, order.clamp(min=0)).masked_fill(~taken, 0)
    outside = torch.ones(len(order), free.size(1) + 1, dtype=torch.bool, device=order.device)
    outside = outside.scatter(1, order.where(taken, free.size(1)), False)[:, :-1]
    left = own.flip(1).cumsum(1).flip(1) + (weights * outside).sum(1, keepdim=True)
    return (own / left).where(taken, 1).log().sum(1)


def site_weights(scores: Tensor) -> Tensor:
    """Return the weight of each position in an informed choice: (N, T) nats -> (N, T)."""
    return FLOOR - scores.clamp(max=0).expm1()
