"""Pearson's correlation of an Electric's energies with a CMLM's, both divided by the number of tokens.

Its moments are sums over sentences, so that fairseq can add up the moments of all batches.
"""

import math

import torch
from torch import Tensor

from fairseq_mh.mcmc.energy import masked_scores, site_features
from fairseq_mh.mcmc.masked_lm import MaskedLM

MOMENTS = ("x", "y", "xx", "yy", "xy")  # x is Electric's energy and y is E_norm, both in nats a token


def moments(lm: MaskedLM, tokens: Tensor, energies: Tensor) -> dict[str, Tensor]:
    """Return the sum of each of MOMENTS over a batch.

    Args:
        lm: the CMLM, with one context for each sentence.
        tokens: (B, T) long, padded.
        energies: (B, T) nats, Electric's energy of each token.

    Returns:
        name of the moment -> scalar float64.
    """
    valid, context = tokens.ne(lm.pad), torch.arange(len(tokens), device=tokens.device)
    norm = torch.zeros_like(energies, dtype=torch.float64)
    places = valid.nonzero(as_tuple=True)
    features = site_features(lm, tokens, context, places)
    norm[places] = -masked_scores(lm, features, tokens[places])[:, 0].double()
    x, y = ((part.double() * valid).sum(1) / valid.sum(1) for part in (energies, norm))
    return dict(zip(MOMENTS, (x.sum(), y.sum(), x.square().sum(), y.square().sum(), (x * y).sum()), strict=True))


def correlation(meters) -> float:
    """Return the correlation, given fairseq's meters of the means of MOMENTS, whose names begin with an underscore."""
    x, y, xx, yy, xy = (meters[f"_{name}"].avg for name in MOMENTS)
    return (xy - x * y) / max(math.sqrt(max((xx - x * x) * (yy - y * y), 0)), 1e-12)
