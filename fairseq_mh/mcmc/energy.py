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

from fairseq_mh.mcmc.masked_lm import MaskedLM, at_once, features_of, state_logits


class Evaluation(NamedTuple):
    """Of P positions, each masked alone."""

    scores: Tensor  # (P, E) float32 or float64: minus the position's share of each energy
    features: Tensor  # (P, D)


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


def evaluate(lm: MaskedLM, tokens: Tensor, rows: Tensor, sites: Tensor) -> Evaluation:
    """Mask each of these positions in turn: a row of the model a position, in row-major order of `sites`.

    Args:
        tokens: (M, T) long, padded; rows: (M,) long, each sequence's context.
        sites: (M, T) bool.
    """
    features = site_features(lm, tokens, rows, sites)
    return Evaluation(score(lm, features, tokens[sites]), features)


def site_features(lm: MaskedLM, tokens: Tensor, rows: Tensor, sites: Tensor) -> Tensor:
    """The features (P, D) that `evaluate` finds."""
    sequence, site = sites.nonzero(as_tuple=True)
    masked = torch.arange(tokens.size(1), device=tokens.device) == site[:, None]
    return features_of(lm, tokens[sequence], masked, rows[sequence])


def score(lm: MaskedLM, features: Tensor, symbols: Tensor) -> Tensor:
    """Minus the positions' shares of each energy: (P, D), (P,) -> (P, E)."""
    found = []
    for some, theirs in zip(features.split(at_once(features)), symbols.split(at_once(features)), strict=True):
        logits = state_logits(lm, some)
        found.append(torch.stack([share(logits, theirs) for share in ENERGIES.values()], -1))
    return torch.cat(found)


def site_scores(scores: Tensor, name: str) -> Tensor:
    """Minus each position's share of the energy of that name, a view: (..., E + 1) -> (...)."""
    return scores[..., COLUMNS.index(name)]


def total(scores: Tensor, name: str) -> Tensor:
    """The energy of that name: (N, T, E + 1) -> (N,)."""
    return -site_scores(scores, name).sum(-1)


def certainty(name: str) -> str:
    """Whose shares say how certain a position is, where the target is the energy of that name: exp(-share) is its
    symbol's probability given the others, or what stands for it."""
    return "surrogate" if name == "surrogate" else "norm"


def evaluated(scores: Tensor) -> Tensor:
    """The part that `evaluate` finds, a view: (..., E + 1) -> (..., E)."""
    return scores[..., : len(ENERGIES)]


ENERGIES = {"raw": raw, "norm": norm, "centred": centred}
COLUMNS = (*ENERGIES, "surrogate")  # of scores: those energies, and one that is no function of masked rows
BOUNDED = {"norm"}  # every position's share is 0 or more, so that some positions bound the energy from below
