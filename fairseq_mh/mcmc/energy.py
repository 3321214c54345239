"""Energies of whole sequences from a masked LM's conditionals (sections 2.1 and 2.2 of the paper).

With f(w, t, X_\\t) the logit of symbol w at position t, t alone being masked:

    E_raw(X)  = - sum_t f(X_t, t, X_\\t)
    E_norm(X) = - sum_t log softmax(f(., t, X_\\t))[X_t]
    E_centred(X) = - sum_t (f(X_t, t, X_\\t) - mean_w f(w, t, X_\\t))

E_raw is not identified by training: a constant c(X_\\t) added to a position's logits leaves the loss alone and changes
E_raw; E_centred (ours) takes that freedom away. All three come from the same T masked rows, so all are always kept.

A state's scores (N, T, E) have a column for each of them, in this order, and then one for each energy from one pass of
the target (`Energy`): minus each position's share of that energy.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of, query_size, state_logits

Places = tuple[Tensor, ...]  # where a (N, T) bool is true: which of the N, and which of the T, each (P,) long


class Evaluation(NamedTuple):
    """What is found at P positions, each of them masked alone."""

    scores: Tensor  # (P, 3) float32 or float64, nats: minus the position's share of each of `ENERGIES`
    features: Tensor  # (P, D)


def raw(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return f(X_t, t, X_\\t): (P, V), (P,) -> (P,)."""
    return logits.gather(-1, tokens[:, None])[:, 0]


def norm(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return log p(X_t | X_\\t): (P, V), (P,) -> (P,)."""
    return raw(logits, tokens) - logits.logsumexp(-1)


def centred(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return f(X_t, t, X_\\t) minus its mean over the state space: (P, V), (P,) -> (P,)."""
    outside = logits.isneginf()
    mean = logits.masked_fill(outside, 0.0).sum(-1) / (~outside).sum(-1)
    return raw(logits, tokens) - mean


def evaluate(lm: MaskedLM, tokens: Tensor, context: Tensor, sites: Tensor) -> Evaluation:
    """Mask each of these positions in turn: one decoder row a position, in row-major order of `sites`.

    Args:
        tokens: (M, T) long, padded.
        context: (M,) long, which context each sequence belongs to.
        sites: (M, T) bool, P of them in all.
    """
    places = sites.nonzero(as_tuple=True)
    features = site_features(lm, tokens, context, places)
    return Evaluation(score(lm, features, tokens[places]), features)


def site_features(lm: MaskedLM, tokens: Tensor, context: Tensor, places: Places) -> Tensor:
    """Return the features (P, D) that `evaluate` finds."""
    sequence, site = places
    masked = torch.arange(tokens.size(1), device=tokens.device) == site[:, None]
    return features_of(lm, tokens[sequence], masked, context[sequence])


def score(lm: MaskedLM, features: Tensor, symbols: Tensor) -> Tensor:
    """Return minus the positions' shares of each of `ENERGIES`, in nats: (P, D), (P,) long -> (P, 3)."""
    found = []
    parts = (part.split(query_size(features)) for part in (features, symbols))
    for some_features, some_symbols in zip(*parts, strict=True):
        logits = state_logits(lm, some_features)
        found.append(torch.stack([share(logits, some_symbols) for share in ENERGIES.values()], -1))
    return torch.cat(found)


def site_scores(scores: Tensor, name: str) -> Tensor:
    """Return minus each position's share of the energy of that name in `ENERGIES`: (..., E) -> (...)."""
    return scores[..., list(ENERGIES).index(name)]


def set_masked_scores(scores: Tensor, places: Places, values: Tensor) -> None:
    """Write what `score` found at these places, in place: (N, T, E), (P,) long twice, (P, 3)."""
    scores[..., : len(ENERGIES)][places] = values


def total(scores: Tensor, name: str) -> Tensor:
    """Return the energy of that name in `ENERGIES`, in nats: (N, T, E) -> (N,)."""
    return -site_scores(scores, name).sum(-1)


ENERGIES = {"raw": raw, "norm": norm, "centred": centred}
BOUNDED = {"norm"}  # every position's share is 0 or more, so that some positions bound the energy from below
