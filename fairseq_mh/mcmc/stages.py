"""Which of a candidate's positions to evaluate next: those expected to decide soonest, and no more of them.

A bad candidate shows at the positions that were costly already, since their shares reach the limit first, and at the
neighbours of the change, whose shares rise. None of this has a part in what is accepted, only in what it costs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq_mh.mcmc.energy import site_scores

NEIGHBOURS_RISE = 0.6  # nats by which a share rises next to a change, measured; two positions away it is 0.03 already
CAUTION = 0.7  # of the nats needed, evaluated before the next look: less saves few rows and makes more queries


def expected_shares(scores: Tensor, masked: Tensor) -> Tensor:
    """Guess the positions' shares of candidates' E_norm.

    Args:
        scores: (N, T, E) nats, of the states that the candidates come from.
        masked: (N, T) bool, the positions that the candidates drew again.

    Returns:
        (N, T) nats.
    """
    neighbours = F.pad(masked, (1, 1))
    neighbours = (neighbours[:, 2:] | neighbours[:, :-2]) & ~masked
    return NEIGHBOURS_RISE * neighbours - site_scores(scores, "norm").nan_to_num()


def next_stage(sites: Tensor, expected: Tensor, needed: Tensor) -> Tensor:
    """Return the fewest sites whose expected shares come near what is needed, or all of them.

    Args:
        sites: (N, T) bool, to choose from.
        expected: (N, T) nats.
        needed: (N,) nats, that decide.
    """
    shares, order = expected.masked_fill(~sites, -torch.inf).sort(dim=1, descending=True, stable=True)
    before = F.pad(shares.clamp(min=0).cumsum(1)[:, :-1], (1, 0))
    return torch.zeros_like(sites).scatter(1, order, before <= CAUTION * needed[:, None]) & sites
