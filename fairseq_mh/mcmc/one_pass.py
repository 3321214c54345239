"""Energies that are no function of masked conditionals, one position each: cheap, or learned.

They are terms of the target, or of delayed acceptance's surrogate (`Term`).
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fairseq_mh.mcmc.energy import score, site_scores
from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of


class OnePassEnergy(Protocol):
    """A function of the tokens alone, for a few rows a sequence however long it is."""

    def __call__(self, lm: MaskedLM, tokens: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate M sequences.

        Args:
            lm: the model of the chains; an energy of another model does not read it.
            tokens: (M, T) long, padded.
            context: (M,) long, which context each sequence belongs to.

        Returns:
            minus each position's share in nats (M, T), 0 at padding, and the rows (M,) long that it took.
        """
        ...


@dataclass(frozen=True)
class PartitionPseudoLikelihood:
    """A pseudo-likelihood that masks the parts of a partition of the positions, one part a pass.

        E(X) = - sum_k sum_{t in P_k} log p(X_t | X without P_k)

    P_k holds every `passes`-th position from the k-th on. With as many passes as positions this is E_norm.

    Args:
        passes: the number of parts, which is the number of decoder rows.
    """

    passes: int

    def __call__(self, lm: MaskedLM, tokens: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        valid = tokens.ne(lm.pad)
        part = torch.arange(tokens.size(1), device=tokens.device) % self.passes
        shares, rows = torch.zeros_like(tokens, dtype=torch.float64), torch.zeros_like(context)
        for k in range(self.passes):
            masked = valid & (part == k)
            asked = masked.any(1)
            if asked.any():
                features = features_of(lm, tokens[asked], masked[asked], context[asked])
                shares[masked] = site_scores(score(lm, features, tokens[masked]), "norm").double()
                rows = rows + asked
        return shares, rows
