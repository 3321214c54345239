"""How an Electric's energies follow a CMLM's: Pearson's correlation of both a token, summed over batches."""

import math

import torch
from torch import Tensor

from fairseq_mh.mcmc.energy import evaluate, site_scores
from fairseq_mh.mcmc.masked_lm import MaskedLM

MOMENTS = ("x", "y", "xx", "yy", "xy")  # of E (x) and E_norm (y)


def moments(lm: MaskedLM, tokens: Tensor, energies: Tensor) -> dict[str, Tensor]:
    """Sums over states (B, T) of what the correlation of their energies a token needs; energies: (B, T), E(X)_t."""
    valid, rows = tokens.ne(lm.pad), torch.arange(len(tokens), device=tokens.device)
    norm = torch.zeros_like(energies, dtype=torch.float64)
    norm[valid] = -site_scores(evaluate(lm, tokens, rows, valid).scores, "norm").double()
    x, y = ((part.double() * valid).sum(1) / valid.sum(1) for part in (energies, norm))
    return dict(zip(MOMENTS, (x.sum(), y.sum(), x.square().sum(), y.square().sum(), (x * y).sum()), strict=True))


def correlation(meters) -> float:
    """Pearson's, from the means of MOMENTS."""
    x, y, xx, yy, xy = (meters[f"_{name}"].avg for name in MOMENTS)
    return (xy - x * y) / max(math.sqrt(max((xx - x * x) * (yy - y * y), 0)), 1e-12)
