"""Energies of whole sequences from a masked LM's conditionals (sections 2.1 and 2.2 of the paper).

With f(w, t, X_\\t) the logit of symbol w at position t, t alone being masked:

    E_raw(X)  = - sum_t f(X_t, t, X_\\t)
    E_norm(X) = - sum_t log softmax(f(., t, X_\\t))[X_t]
    E_centred(X) = - sum_t (f(X_t, t, X_\\t) - mean_w f(w, t, X_\\t))

E_raw is not identified by training: a constant c(X_\\t) added to a position's logits leaves the
loss alone and changes E_raw; E_centred (ours) takes that freedom away. All of them come from the same
T masked rows, so all are always kept.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_mh.mcmc.masked_lm import MaskedLM, state_logits

SITES_AT_ONCE = 64  # masked rows in one query: their temporaries stay in cache (1.5 times the rows a second of 512)


class Evaluation(NamedTuple):
    scores: Tensor  # (M, T, E) float32 or float64: minus each position's share of each energy; 0 at padding
    features: Tensor  # (M, T, D): features of each position, it alone being masked


def raw(logits: Tensor, tokens: Tensor) -> Tensor:
    """f(X_t, t, X_\\t): (P, V), (P,) -> (P,)."""
    return logits.gather(-1, tokens[:, None])[:, 0]


def norm(logits: Tensor, tokens: Tensor) -> Tensor:
    """log p(X_t | X_\\t): (P, V), (P,) -> (P,)."""
    return raw(logits, tokens) - logits.logsumexp(-1)


def centred(logits: Tensor, tokens: Tensor) -> Tensor:
    """f(X_t, t, X_\\t) minus its mean over the state space: (P, V), (P,) -> (P,)."""
    outside = logits.isneginf()
    mean = logits.masked_fill(outside, 0.0).sum(-1) / (~outside).sum(-1)
    return raw(logits, tokens) - mean


def evaluate(lm: MaskedLM, tokens: Tensor, rows: Tensor) -> Evaluation:
    """Mask each position of each sequence in turn: a row of the model a position.

    Args:
        tokens: (M, T) long, padded; rows: (M,) long, each sequence's context.
    """
    sequence, site = tokens.ne(lm.pad).nonzero(as_tuple=True)
    scores, features = [], []
    for m, t in zip(sequence.split(SITES_AT_ONCE), site.split(SITES_AT_ONCE), strict=True):
        masked = torch.arange(tokens.size(1), device=tokens.device) == t[:, None]
        features.append(lm.features(tokens[m], masked, rows[m]))
        logits = state_logits(lm, features[-1])
        scores.append(torch.stack([score(logits, tokens[m, t]) for score in ENERGIES.values()], -1))
    return Evaluation(*(_scatter(torch.cat(part), sequence, site, tokens.shape) for part in (scores, features)))


def site_scores(scores: Tensor, name: str) -> Tensor:
    """Minus each position's share of the energy of that name: (..., E) -> (...)."""
    return scores[..., list(ENERGIES).index(name)]


def total(scores: Tensor, name: str) -> Tensor:
    """The energy of that name: (N, T, E) -> (N,)."""
    return -site_scores(scores, name).sum(-1)


def _scatter(values: Tensor, sequence: Tensor, site: Tensor, shape: torch.Size) -> Tensor:
    result = values.new_zeros(*shape, values.size(-1))
    result[sequence, site] = values
    return result


ENERGIES = {"raw": raw, "norm": norm, "centred": centred}
