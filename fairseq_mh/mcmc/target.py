"""The energy that is sampled: a weighted sum of terms, in nats.

    E(X) = sum_k w_k E_k(X)

A term is an energy of masked conditionals (a name of `ENERGIES`), which takes a decoder row for each position and can
be evaluated position by position, or an energy from one pass, which takes a few rows and is evaluated whole. The kernel
evaluates terms in their order, and masked conditionals last; it stops as soon as the rejection is certain.

Delayed acceptance (Christen and Fox, 2005) is another use of the same list: the terms with a screening weight make the
surrogate S(X) = sum_k s_k E_k(X) of the first stage. A term may have both weights, or one of them alone.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fairseq_mh.mcmc.energy import BOUNDED, ENERGIES
from fairseq_mh.mcmc.one_pass import OnePassEnergy


@dataclass(frozen=True)
class Term:
    """One term of an energy.

    Args:
        name: of its column of the scores, and of its field in the trace; a name of `ENERGIES` for masked conditionals.
        energy: from one pass; None for masked conditionals.
        weight: w of the target, 0 or more.
        screening: s of the surrogate, 0 or more; for energies from one pass alone.
        bounded: no position's share is ever below 0, so that what is evaluated bounds the energy from below.
        expert: its rows are an autoregressive model's, which are counted on their own.
    """

    name: str
    energy: OnePassEnergy | None = None
    weight: float = 1.0
    screening: float = 0.0
    bounded: bool = False
    expert: bool = False


@dataclass(frozen=True)
class Energy:
    """A weighted sum of terms.

    Args:
        terms: in the order of their evaluation, cheap ones first. The first term, or that of masked conditionals, says
            how certain each position is: exp(-share) is the symbol's probability given the others.

    Raises:
        ValueError: for terms of which no sum can be made.
    """

    terms: tuple[Term, ...]

    def __post_init__(self):
        masked, names = [term for term in self.terms if term.energy is None], [term.name for term in self.terms]
        if any(term.name not in ENERGIES for term in masked):
            raise ValueError(f"the energy must be one of {', '.join(ENERGIES)}, and is {masked[0].name}")
        if len(masked) > 1 or len(set(names)) < len(names):
            raise ValueError(f"an energy has one term of masked conditionals, and one of each name: {', '.join(names)}")
        weights = [weight for term in self.terms for weight in (term.weight, term.screening)]
        if not all(0 <= weight < math.inf for weight in weights) or not any(term.weight for term in self.terms):
            raise ValueError("the weights of an energy's terms must be 0 or more, finite, and not all of them 0")
        if any(term.screening for term in masked):
            raise ValueError("masked conditionals are what a surrogate stands in for")
        if self.delayed and all(term.screening for term in self.terms if term.weight):
            raise ValueError("a surrogate stands in for a costlier energy than itself")

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the scores' columns: `ENERGIES`, and then the energies from one pass."""
        return (*ENERGIES, *(term.name for term in self.one_pass))

    @property
    def masked(self) -> Term | None:
        """The term of masked conditionals."""
        return next((term for term in self.terms if term.energy is None), None)

    @property
    def one_pass(self) -> list[Term]:
        """The energies from one pass, in the order of their evaluation."""
        return [term for term in self.terms if term.energy is not None]

    @property
    def delayed(self) -> bool:
        """Whether acceptance has two stages."""
        return any(term.screening for term in self.terms)

    @property
    def certainty(self) -> int:
        """The column of the scores that says how certain each position is."""
        return self.columns.index("norm" if self.masked else self.terms[0].name)

    def stages(self) -> Iterator[tuple[Term, bool]]:
        """Yield the energies from one pass after the first stage, and whether a sum without them is a lower bound."""
        left = [term for term in self.one_pass if term.weight and not term.screening]
        bounded = [term.bounded for term in left] + ([self.masked.name in BOUNDED] if self.masked else [])
        for number, term in enumerate(left):
            yield term, all(bounded[number:])

    def total(self, scores: Tensor) -> Tensor:
        """Return E: (N, T, E) -> (N,)."""
        return self._sum(scores, [(term, term.weight) for term in self.terms])

    def surrogate(self, scores: Tensor) -> Tensor:
        """Return S: (N, T, E) -> (N,)."""
        return self._sum(scores, [(term, term.screening) for term in self.terms])

    def by_name(self, scores: Tensor) -> dict[str, Tensor]:
        """Return each column's energy, without its weight: (N, T, E) -> (N,)."""
        return {name: -scores[..., column].sum(-1) for column, name in enumerate(self.columns)}

    def set_shares(self, scores: Tensor, term: Term, which: Tensor, shares: Tensor) -> None:
        """Write minus a term's shares in these sequences, in place: (N, T, E), (M,) long, (M, T)."""
        scores[which, :, self.columns.index(term.name)] = shares.to(scores)

    def _sum(self, scores: Tensor, weighted: list[tuple[Term, float]]) -> Tensor:
        columns = self.columns
        parts = [-scores[..., columns.index(term.name)].sum(-1) * weight for term, weight in weighted if weight]
        return torch.stack(parts).sum(0)


def as_energy(energy: str | OnePassEnergy | Energy) -> Energy:
    """Return an energy of one term from its name in `ENERGIES`, or from an energy from one pass."""
    if isinstance(energy, Energy):
        return energy
    return Energy((Term(energy) if isinstance(energy, str) else Term("one-pass", energy),))
