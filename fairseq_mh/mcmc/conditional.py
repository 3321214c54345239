"""The distribution that a proposal draws a masked position from (section 3.2).

    q_i = (1 - eps) truncated(p_i) + eps p_i,    p_i = softmax(f(., i, X_\\M) / tau_q)

A proposal from the nucleus only could never return to a current symbol outside it, so every move away from that symbol
would be rejected, and the position would never change. The share eps of the full conditional keeps the chain
irreducible.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Conditional = Callable[[Tensor], Tensor]  # logits over the state space (P, V) -> log q_i of every symbol (P, V)
MIX = 0.01  # eps of truncated proposals


def conditional(logits: Tensor, temperature: float = 1.0, nucleus: float = 1.0, mix: float = MIX) -> Tensor:
    """Return log q_i of every symbol, in nats: (P, V) -> (P, V).

    Args:
        logits: (P, V), minus infinity outside the state space.
        temperature: tau_q, of the proposals.
        nucleus: keep the smallest set of symbols with at least this mass; 1 keeps all.
        mix: eps, the probability of proposing from the whole conditional instead.
    """
    log_p = (logits / temperature).log_softmax(-1)
    if nucleus >= 1:
        return log_p
    ranked, order = log_p.sort(-1, descending=True)
    kept = ranked.exp().cumsum(-1) - ranked.exp() < nucleus  # the mass before a symbol
    kept = torch.zeros_like(kept).scatter(-1, order, kept)
    truncated = log_p.masked_fill(~kept, -torch.inf).log_softmax(-1)
    log_mix = math.log(mix) if mix else -math.inf
    return torch.logaddexp(truncated + math.log1p(-mix), log_p + log_mix) if mix < 1 else log_p


def inverse_cdf(log_probs: Tensor, uniforms: Tensor) -> Tensor:
    """Return the symbol at which the cumulative probability first exceeds the uniform: (P, V), (P,) -> (P,) long.

    The sums are in float64, and the uniform is scaled to stay below the row's last sum, so that no symbol of
    probability 0 is ever drawn.
    """
    cumulated = log_probs.to(torch.float64, copy=True).exp_().cumsum_(-1)  # in place: large
    total = cumulated[:, -1]
    scaled = (uniforms.double() * total).minimum(total.nextafter(torch.zeros_like(total)))
    drawn = torch.searchsorted(cumulated, scaled[:, None], right=True)[:, 0]
    return drawn.clamp(max=log_probs.size(-1) - 1)  # only a row of NaN is out of range
