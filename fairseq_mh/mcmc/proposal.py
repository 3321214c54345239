"""Proposals from the masked conditionals (section 3.1): mask some positions, draw them again.

    q(X' | X) = prod_{i in M} softmax(f(., i, X_\\M) / tau_q)[X'_i]

One pass over the masked state gives the forward and the reverse probability, because X and X'
are the same outside M. M must be drawn without a look at the tokens.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_mh.mcmc.masked_lm import MaskedLM, state_logits


class State(NamedTuple):
    tokens: Tensor  # (N, T) long, padded
    scores: Tensor  # (N, T, E), as in Evaluation; of no meaning while features is None
    features: Tensor | None  # (N, T, D), as in Evaluation; None: not known for these tokens


class Proposed(NamedTuple):
    candidate: Tensor  # (N, T) long
    log_forward: Tensor  # (N,) log q(candidate | state)
    log_reverse: Tensor  # (N,) log q(state | candidate)
    rows: Tensor  # (N,) long: decoder rows spent


def masked_conditional(
    lm: MaskedLM, rows: Tensor, state: State, masked: Tensor, uniforms: Tensor, temperature: float
) -> Proposed:
    """Draw the masked positions of each chain independently from one pass.

    Args:
        rows: (N,) long, the context of each chain.
        masked: (N, T) bool; a chain with nothing masked proposes its own state.
        uniforms: (N, S) in [0, 1): a chain's k-th masked position reads column k.
        temperature: tau_q of the proposal.
    """
    chain, site = masked.nonzero(as_tuple=True)
    features, spent = _features(lm, rows, state, masked)
    log_q = (state_logits(lm, features) / temperature).log_softmax(-1)
    current = state.tokens[chain, site]
    rank = (masked.cumsum(1) - 1)[chain, site]
    drawn = inverse_cdf(log_q, uniforms[chain, rank])
    log_forward = log_q.gather(-1, drawn[:, None])[:, 0]
    drawn = torch.where(log_forward.isnan(), current, drawn)  # a broken row keeps its symbol; its NaN is rejected
    candidate = state.tokens.clone()
    candidate[chain, site] = drawn
    zero = log_q.new_zeros(len(rows))
    return Proposed(
        candidate,
        zero.index_add(0, chain, log_forward),
        zero.index_add(0, chain, log_q.gather(-1, current[:, None])[:, 0]),
        spent,
    )


def inverse_cdf(log_probs: Tensor, uniforms: Tensor) -> Tensor:
    """The symbol at which the cumulated probability first exceeds the uniform: (P, V), (P,) -> (P,).

    In float64, and normalised by its own last value, so that no symbol of probability 0 is ever drawn.
    """
    cumulated = log_probs.double().softmax(-1).cumsum(-1)
    cumulated = cumulated / cumulated[:, -1:]
    drawn = torch.searchsorted(cumulated, uniforms.double()[:, None], right=True)[:, 0]
    return drawn.clamp(max=log_probs.size(-1) - 1)  # out of range only where the row is NaN


def _features(lm: MaskedLM, rows: Tensor, state: State, masked: Tensor) -> tuple[Tensor, Tensor]:
    """Features (P, D) at the masked positions, from the state where they are known, and the rows (N,) it took."""
    sites = masked.sum(1)
    if state.features is not None and sites.max() <= 1:
        return state.features[masked], torch.zeros_like(sites)
    asked = sites > 0
    return lm.features(state.tokens[asked], masked[asked], rows[asked]), asked.long()
