"""Proposals from the masked conditionals (sections 3.1 and 3.2): mask some positions, draw them again.

    q(X' | X) = prod_{i in M} q_i(X'_i)
    q_i = (1 - eps) truncated(p_i) + eps p_i,    p_i = softmax(f(., i, X_\\M) / tau_q)

One pass over the masked state gives the forward and the reverse probability, because X and X'
are the same outside M. M must be drawn without a look at the tokens, or its own probability
belongs into the ratio, as that of an `informed` choice does. Truncation to a nucleus or to the
top k leaves current tokens outside it without a way back, so that the site would never move
again: the share eps of the full conditional keeps the chain irreducible.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_mh.mcmc.energy import site_scores
from fairseq_mh.mcmc.masked_lm import MaskedLM, at_once, features_of, state_logits
from fairseq_mh.mcmc.state import State

Conditional = Callable[[Tensor], Tensor]  # logits over the state space (P, V) -> log q_i of every symbol (P, V)
FLOOR = 0.05  # of an informed choice: what even a certain position weighs
NOWHERE = -1  # in an order, behind its last position


class Proposed(NamedTuple):
    candidate: Tensor  # (N, T) long
    log_forward: Tensor  # (N,) log q(candidate | state)
    log_reverse: Tensor  # (N,) log q(state | candidate)
    rows: Tensor  # (N,) long: decoder rows spent
    masked: Tensor  # (N, T) bool: what was drawn again
    order: Tensor  # (N, K) long, of an informed choice, or NOWHERE; its probability is not in the two above


def conditional(
    logits: Tensor, temperature: float = 1.0, nucleus: float = 1.0, top_k: int = 0, mix: float = 0.0
) -> Tensor:
    """log q_i of every symbol: (P, V) -> (P, V).

    Args:
        temperature: tau_q.
        nucleus: keep the smallest set of symbols with at least this mass; 1 keeps all.
        top_k: keep the k likeliest symbols; 0 keeps all.
        mix: eps, the share of the full conditional.
    """
    log_p = (logits / temperature).log_softmax(-1)
    if nucleus >= 1 and not 0 < top_k < log_p.size(-1):
        return log_p
    ranked, order = log_p.sort(-1, descending=True)
    kept = ranked.exp().cumsum(-1) - ranked.exp() < nucleus  # the mass before a symbol
    if top_k:
        kept[:, top_k:] = False
    kept = torch.zeros_like(kept).scatter(-1, order, kept)
    truncated = log_p.masked_fill(~kept, -torch.inf).log_softmax(-1)
    log_mix = math.log(mix) if mix else -math.inf
    return torch.logaddexp(truncated + math.log1p(-mix), log_p + log_mix) if mix < 1 else log_p


def masked_conditional(
    lm: MaskedLM, state: State, masked: Tensor, uniforms: Tensor, log_q: Conditional = conditional
) -> Proposed:
    """Draw the masked positions of each chain independently from one pass.

    Args:
        masked: (N, T) bool; a chain with nothing masked proposes its own state.
        uniforms: (N, S) in [0, 1): a chain's k-th masked position reads column k.
        log_q: `conditional` with its settings.
    """
    chain, site = masked.nonzero(as_tuple=True)
    features, spent = _features(lm, state, masked)
    current = state.tokens[chain, site]
    rank = (masked.cumsum(1) - 1)[chain, site]
    parts = (part.split(at_once(features)) for part in (features, current, uniforms[chain, rank]))
    draws = [_draw(log_q(state_logits(lm, features)), *rest) for features, *rest in zip(*parts, strict=True)]
    drawn, log_forward, log_reverse = map(torch.cat, zip(*draws, strict=True))
    candidate = state.tokens.clone()
    candidate[chain, site] = drawn
    zero = log_forward.new_zeros(len(masked))
    forward, reverse = zero.index_add(0, chain, log_forward), zero.index_add(0, chain, log_reverse)
    return Proposed(candidate, forward, reverse, spent, masked, site.new_empty(len(masked), 0))


def _draw(log_probs: Tensor, current: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Symbols (P,), log q of them and of the current ones; a broken row keeps its symbol, and its NaN is rejected."""
    drawn = inverse_cdf(log_probs, uniforms)
    log_forward = log_probs.gather(-1, drawn[:, None])[:, 0]
    drawn = torch.where(log_forward.isnan(), current, drawn)
    return drawn, log_forward, log_probs.gather(-1, current[:, None])[:, 0]


def informed(
    lm: MaskedLM, state: State, masked: Tensor, uniforms: Tensor, log_q: Conditional = conditional, by: str = "norm"
) -> Proposed:
    """Draw as many positions as are masked, wherever they are: those that cost more of the energy `by` more often.

    They are chosen one by one, by `choice`; their order is a part of the move. The probability of that order changes
    with the state and belongs into the ratio: the kernel adds it, who knows the candidate's scores. Where all positions
    are drawn there is no choice, and no order.

    Args:
        uniforms: (N, 2T): position t's column 2t is for the choice, column 2k + 1 for the k-th symbol from the left.
    """
    length = masked.size(1)
    # The largest of log-weights with Gumbel noise are a draw without replacement (Yellott, 1977; Kool et al., 2019).
    noise = -(-uniforms[:, : 2 * length : 2].log()).log()
    valid, count = state.tokens.ne(lm.pad), masked.sum(1, keepdim=True)
    weights = misses(state.scores, by).masked_fill(~valid, 0)
    ranked = (weights.log() + noise).argsort(dim=1, descending=True)
    taken = torch.arange(length, device=masked.device) < count
    chosen = torch.zeros_like(masked).scatter(1, ranked, taken)
    order = ranked.masked_fill(~taken | (count == valid.sum(1, keepdim=True)), NOWHERE)
    return masked_conditional(lm, state, chosen, uniforms[:, 1::2], log_q)._replace(order=order)


def choice(scores: Tensor, valid: Tensor, order: Tensor, by: str) -> Tensor:
    """log-probability of choosing these positions in this order: (N, T, E + 1), (N, T) bool, (N, K) long -> (N,).

    Each is chosen among those that are left with a probability proportional to FLOOR + 1 - exp(-share): by E_norm, to
    FLOOR and the conditional's own probability that the symbol there is another.
    """
    taken, weights = order.ne(NOWHERE), misses(scores, by).masked_fill(~valid, 0)
    own = weights.gather(1, order.clamp(min=0)).masked_fill(~taken, 0)
    outside = torch.ones(len(order), valid.size(1) + 1, dtype=torch.bool, device=order.device)
    outside = outside.scatter(1, order.where(taken, valid.size(1)), False)[:, :-1]
    left = own.flip(1).cumsum(1).flip(1) + (weights * outside).sum(1, keepdim=True)
    return (own / left).where(taken, 1).log().sum(1)


def misses(scores: Tensor, by: str) -> Tensor:
    """The weight of each position in an informed choice: (N, T, E + 1) -> (N, T)."""
    return FLOOR - site_scores(scores, by).clamp(max=0).expm1()


def inverse_cdf(log_probs: Tensor, uniforms: Tensor) -> Tensor:
    """The symbol at which the cumulated probability first exceeds the uniform: (P, V), (P,) -> (P,).

    In float64, and normalised by its own last value, so that no symbol of probability 0 is ever drawn.
    """
    cumulated = log_probs.double().softmax(-1).cumsum(-1)
    cumulated = cumulated / cumulated[:, -1:]
    drawn = torch.searchsorted(cumulated, uniforms.double()[:, None], right=True)[:, 0]
    return drawn.clamp(max=log_probs.size(-1) - 1)  # out of range only where the row is NaN


def _features(lm: MaskedLM, state: State, masked: Tensor) -> tuple[Tensor, Tensor]:
    """Features (P, D) at the masked positions, from the state where they are known, and the rows (N,) it took.

    What is learned of a position masked alone is kept in the state: it is a function of its tokens. A `repeat`ed state
    has features of its entries once.
    """
    alone = masked.sum(1).eq(1)
    chain, site = masked.nonzero(as_tuple=True)
    entry = chain // (len(masked) // max(len(state.features), 1))
    known = alone[chain] & state.known[entry, site]
    asked = torch.zeros_like(alone).index_fill(0, chain[~known], True)
    features = state.features[entry, site]
    if asked.any():
        features[~known] = features_of(lm, state.tokens[asked], masked[asked], state.context[asked])
        learned = alone[chain] & ~known
        state.features[entry[learned], site[learned]] = features[learned]
        state.known[entry[learned], site[learned]] = True
    return features, asked.long()
