"""In which order a candidate's positions are evaluated: first those that are expected to decide soonest.

A bad candidate shows at the positions that were costly already, since their shares reach the limit first, and at
those beside the change, whose shares rise. The order has no part in what is accepted, only in what it costs.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from fairseq_mh.mcmc.energy import site_scores

FIRST = 2  # positions of the first stage; each later one is twice as large, so that there are few queries
BESIDE = 1.0  # nats that a share is expected to rise by, beside the change; half of it two positions away


def stages(sites: Tensor, scores: Tensor, masked: Tensor) -> Iterator[Tensor]:
    """Parts of `sites` (N, T) bool, together all of them.

    Args:
        scores: (N, T, E) of the states that the candidates come from.
        masked: (N, T) bool, what the candidates drew again.
    """
    positions = torch.arange(sites.size(1), device=sites.device)
    between = (positions - positions[:, None]).abs() + torch.where(masked, 0, sites.size(1))[:, None]  # (N, T, T)
    expected = BESIDE / between.amin(-1).clamp(min=1) - site_scores(scores, "norm").nan_to_num()
    order = expected.masked_fill(~sites, -torch.inf).argsort(dim=1, descending=True, stable=True)
    rank = torch.zeros_like(order).scatter(1, order, positions.expand_as(order))
    begin, size, most = 0, FIRST, int(sites.sum(1).max())
    while begin < most:
        yield sites & (rank >= begin) & (rank < begin + size)
        begin, size = begin + size, 2 * size
