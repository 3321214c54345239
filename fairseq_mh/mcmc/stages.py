"""Which of a candidate's positions to evaluate next: those that are expected to decide soonest, and no more of them.

A bad candidate shows at the positions that were costly already, since their shares reach the limit first, and at
those beside the change, whose shares rise. None of this has a part in what is accepted, only in what it costs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq_mh.mcmc.energy import site_scores

BESIDE = 0.6  # nats that a share rises by beside a change, measured; two positions away it is 0.03 already
CAUTION = 0.7  # of the nats that are needed, evaluated before the next look: less saves few rows and makes more queries


def expected_shares(scores: Tensor, masked: Tensor) -> Tensor:
    """Of candidates' norm energies, in nats: (N, T).

    Args:
        scores: (N, T, E) of the states that the candidates come from.
        masked: (N, T) bool, what the candidates drew again.
    """
    beside = F.pad(masked, (1, 1))
    beside = (beside[:, 2:] | beside[:, :-2]) & ~masked
    return BESIDE * beside - site_scores(scores, "norm").nan_to_num()


def next_stage(sites: Tensor, expected: Tensor, needed: Tensor) -> Tensor:
    """The fewest of `sites` (N, T) bool whose expected shares (N, T) come near `needed` (N,) nats, or all of them."""
    shares, order = expected.masked_fill(~sites, -torch.inf).sort(dim=1, descending=True, stable=True)
    before = F.pad(shares.clamp(min=0).cumsum(1)[:, :-1], (1, 0))
    return torch.zeros_like(sites).scatter(1, order, before <= CAUTION * needed[:, None]) & sites
