"""The choice of the positions of a candidate to evaluate next: the fewest that are expected to decide.

Positions whose shares were large already reach the limit first, and the shares of the neighbours of a change rise, so
both are expected to reveal a bad candidate. This guess never changes a decision, only its cost.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

NEIGHBOURS_RISE = 0.6  # nats by which a share rises next to a change, measured; two positions away it is 0.03 already
CAUTION = 0.7  # share of the needed nats to evaluate in a stage: less saves few rows and makes more queries


def expected_shares(scores: Tensor, masked: Tensor, bounded: bool) -> Tensor:
    """Guess the shares of positions in the E_norm of candidates.

    Args:
        scores: (N, T) nats, log-probabilities of the symbols of the states that the candidates come from.
        masked: (N, T) bool, the positions that were redrawn.
        bounded: whether the guess is needed; otherwise it is 0.

    Returns:
        (N, T) nats.
    """
    if not bounded:
        return torch.zeros_like(scores)
    neighbours = F.pad(masked, (1, 1))
    neighbours = (neighbours[:, 2:] | neighbours[:, :-2]) & ~masked
    return NEIGHBOURS_RISE * neighbours - scores.nan_to_num()


def next_stage(sites: Tensor, expected: Tensor, needed: Tensor) -> Tensor:
    """Return the fewest sites whose expected shares come near the nats that decide, or all sites.

    Args:
        sites: (N, T) bool, the sites to choose from.
        expected: (N, T) nats, their expected shares.
        needed: (N,) nats, the rise of the energy that decides.
    """
    shares, order = expected.masked_fill(~sites, -torch.inf).sort(dim=1, descending=True, stable=True)
    before = F.pad(shares.clamp(min=0).cumsum(1)[:, :-1], (1, 0))
    return torch.zeros_like(sites).scatter(1, order, before <= CAUTION * needed[:, None]) & sites
