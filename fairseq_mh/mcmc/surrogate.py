"""Energies that are no function of masked conditionals, one position each: cheap, or learned.

As the first stage of delayed acceptance (Christen and Fox, 2005): a candidate is first accepted or rejected by the
surrogate S in the energy's place, and only one that passes is evaluated and accepted by what the surrogate left out:

    a_1 = min(1, exp(-(S(X') - S(X)) / tau) q(X | X') / q(X' | X))
    a_2 = min(1, exp(-(E(X') - E(X)) / tau + (S(X') - S(X)) / tau))

Both ratios of the way back are one over those of the way there, so the target stays what it is, whatever S is: a bad
surrogate costs acceptances, never correctness. As the target itself, exp(-S / tau), it has that one stage.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fairseq_mh.mcmc.energy import score, site_scores
from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of


class Surrogate(Protocol):
    """A function of the tokens alone."""

    def __call__(self, lm: MaskedLM, tokens: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Minus each position's share in nats, 0 at padding, and the decoder rows that it took.

        (M, T) long, padded, of the contexts (M,) -> (M, T), (M,) long.
        """
        ...


@dataclass(frozen=True)
class BlockPseudoLikelihood:
    """- sum_k sum_{t in B_k} log p(X_t | X without B_k), B_k being every `passes`-th position from the k-th: E_norm for
    `passes` rows, and E_norm itself where there are as many passes as positions."""

    passes: int

    def __call__(self, lm: MaskedLM, tokens: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        valid = tokens.ne(lm.pad)
        every = torch.arange(tokens.size(1), device=tokens.device) % self.passes
        shares, spent = torch.zeros_like(tokens, dtype=torch.float64), torch.zeros_like(rows)
        for k in range(self.passes):
            masked = valid & (every == k)
            asked = masked.any(1)
            if asked.any():
                features = features_of(lm, tokens[asked], masked[asked], rows[asked])
                shares[masked] = site_scores(score(lm, features, tokens[masked]), "norm").double()
                spent = spent + asked
        return shares, spent
