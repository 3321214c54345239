"""The energy that is sampled: a weighted sum of terms, in nats.

    E(X) = sum_k w_k E_k(X)

A term is one of two kinds. Terms of masked conditionals (sections 2.1 and 2.2 of the paper) take one decoder row for
each position, and can be evaluated position by position. With f(w, t, X_\\t) the logit of symbol w at position t, where
only t is masked:

    E_raw(X)  = - sum_t f(X_t, t, X_\\t)
    E_norm(X) = - sum_t log softmax(f(., t, X_\\t))[X_t]

Training does not identify E_raw: a constant c(X_\\t) added to a position's logits leaves the loss unchanged and changes
E_raw. Terms from one pass (`OnePassEnergy`) take a few rows and are evaluated for a whole sequence at once.

The scores of a state, (N, T, E), have one column for each term: minus each position's share of that term.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of, query_size, state_logits
from fairseq_mh.mcmc.state import Cost, State, no_cost, unevaluated

Places = tuple[Tensor, ...]  # two tensors (P,) long: the row and the column of each of P positions of (N, T)
Share = Callable[[Tensor, Tensor], Tensor]  # logits (P, V), symbols (P,) long -> minus the symbols' shares (P,), nats


def raw(logits: Tensor, symbols: Tensor) -> Tensor:
    """Return f(X_t, t, X_\\t): (P, V), (P,) -> (P,)."""
    return logits.gather(-1, symbols[:, None])[:, 0]


def norm(logits: Tensor, symbols: Tensor) -> Tensor:
    """Return log p(X_t | X_\\t): (P, V), (P,) -> (P,) nats."""
    return -F.cross_entropy(logits, symbols, reduction="none")


class OnePassEnergy(Protocol):
    """A function of whole sequences that takes a few rows for each, however long it is."""

    def __call__(self, lm: MaskedLM, tokens: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate M sequences.

        Args:
            lm: the model of the chains; an energy that has its own model does not use it.
            tokens: (M, T) long, padded.
            context: (M,) long, the context of each sequence.

        Returns:
            Minus each position's share (M, T) in nats, 0 at padding; and the number of rows (M,) long that it took.
        """
        ...


@dataclass(frozen=True)
class Term:
    """One term of an energy.

    Args:
        name: the name of its column in scores, trace and output; for masked conditionals, a name of `ENERGIES`.
        energy: the energy from one pass, or None for masked conditionals.
        weight: w, 0 or more. A term of weight 0 decides nothing. It is evaluated at the end of each sweep that changed
            the state, for trace and output, or with every candidate if another term needs its rows anyway.
        bounded: whether every position's share is at least 0, so that the evaluated part bounds the energy from below.
        expert: whether its rows are those of an autoregressive model, which are counted separately.
    """

    name: str
    energy: OnePassEnergy | None = None
    weight: float = 1.0
    bounded: bool = False
    expert: bool = False


@dataclass(frozen=True)
class Energy:
    """A weighted sum of terms.

    Args:
        terms: the terms in the order of the columns. Terms from one pass are evaluated in this order, so list cheap
            ones first.

    Raises:
        ValueError: for terms that cannot be summed.
    """

    terms: tuple[Term, ...]

    def __post_init__(self):
        names, weights = [term.name for term in self.terms], [term.weight for term in self.terms]
        unknown = [term.name for term in self.masked if term.name not in ENERGIES]
        if unknown:
            raise ValueError(f"the energy must be one of {', '.join(ENERGIES)}, not {unknown[0]}")
        if len(set(names)) < len(names):
            raise ValueError(f"the terms of an energy need different names: {', '.join(names)}")
        if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
            raise ValueError("the weights of an energy's terms must be finite, at least 0, and not all 0")

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the terms, which are the columns of the scores."""
        return tuple(term.name for term in self.terms)

    @property
    def masked(self) -> list[Term]:
        """The terms of masked conditionals."""
        return [term for term in self.terms if term.energy is None]

    @property
    def samples_masked(self) -> bool:
        """Whether masked conditionals decide about candidates, because one of their terms has a weight above 0."""
        return any(term.weight for term in self.masked)

    @property
    def masked_bound(self) -> float:
        """The weight of E_norm if it is the only weighted term of masked conditionals, and otherwise 0.

        If it is above 0, the positions that are evaluated bound the energy from below.
        """
        weighted = [term for term in self.masked if term.weight]
        return weighted[0].weight if [term.name for term in weighted] == ["norm"] else 0.0

    @property
    def deciding(self) -> list[Term]:
        """The terms that are evaluated for candidates; terms of masked conditionals share their rows."""
        return [term for term in self.terms if term.weight or (term.energy is None and self.samples_masked)]

    @property
    def reported(self) -> list[Term]:
        """The terms of weight 0 that no candidate needs."""
        return [term for term in self.terms if term not in self.deciding]

    @property
    def certainty(self) -> int:
        """The column of the certainty of each symbol, which informed moves and outputs read.

        It is that of E_norm if it decides, and otherwise that of the first deciding term; an expert is only taken if
        there is no other.
        """
        names = [term.name for term in sorted(self.deciding, key=lambda term: term.expert)]
        return self.columns.index("norm" if "norm" in names else names[0])

    def stages(self) -> Iterator[tuple[Term, bool]]:
        """Yield each deciding term from one pass, and whether the sum of the earlier terms is a lower bound of E."""
        left = [term for term in self.terms if term.weight and term.energy is not None]
        bounded = [term.bounded for term in left] + ([bool(self.masked_bound)] if self.samples_masked else [])
        for number, term in enumerate(left):
            yield term, all(bounded[number:])

    def total(self, scores: Tensor) -> Tensor:
        """Return E in nats: (N, T, E) -> (N,)."""
        weighted = [(column, term.weight) for column, term in enumerate(self.terms) if term.weight]
        return torch.stack([-scores[..., column].sum(-1) * weight for column, weight in weighted]).sum(0)

    def by_name(self, scores: Tensor) -> dict[str, Tensor]:
        """Return each term's energy in nats, without its weight: (N, T, E) -> (N,)."""
        return {name: -scores[..., column].sum(-1) for column, name in enumerate(self.columns)}

    def evaluate_one_pass(
        self, term: Term, lm: MaskedLM, tokens: Tensor, context: Tensor, which: Tensor, scores: Tensor
    ) -> Tensor:
        """Evaluate a term from one pass for some sequences, and write minus its shares in place.

        Args:
            term: the term.
            lm: the model.
            tokens: (N, T) long, all sequences.
            context: (N,) long.
            which: (M,) long, the indices of the sequences to evaluate.
            scores: (N, T, E) nats.

        Returns:
            The rows spent on each of all sequences (N,) long.
        """
        assert term.energy is not None
        shares, rows = term.energy(lm, tokens[which], context[which])
        scores[which, :, self.columns.index(term.name)] = shares.to(scores)
        return torch.zeros_like(context).index_copy(0, which, rows.to(context))

    def set_masked(self, scores: Tensor, places: Places, lm: MaskedLM, features: Tensor, symbols: Tensor) -> None:
        """Write minus the shares of all masked terms at these places, in place.

        Args:
            scores: (N, T, E) nats.
            places: the P positions to write.
            lm: the model.
            features: (P, D), of each place when only that position is masked.
            symbols: (P,) long, the symbols at these positions.
        """
        columns = [self.columns.index(term.name) for term in self.masked]
        found = masked_scores(lm, features, symbols, [ENERGIES[term.name] for term in self.masked])
        for number, column in enumerate(columns):
            scores[(*places, torch.full_like(places[0], column))] = found[:, number]


def sum_of(terms: Iterable[Term]) -> Energy:
    """Return the weighted sum of terms.

    Informed moves and the output read log p of every symbol. E_raw does not give it, so a sum with `raw` and without
    `norm` gets `norm` as a term of weight 0, which takes no rows of its own.
    """
    listed = list(terms)
    names = {term.name for term in listed}
    if "raw" in names and "norm" not in names:
        listed.append(Term("norm", weight=0.0))
    return Energy(tuple(listed))


def as_energy(energy: str | OnePassEnergy | Energy) -> Energy:
    """Return an energy of one term, from its name in `ENERGIES` or from an energy from one pass."""
    if isinstance(energy, Energy):
        return energy
    return sum_of([Term(energy) if isinstance(energy, str) else Term("one-pass", energy)])


class EvaluatedState(NamedTuple):
    """States with their scores, and the cost of the evaluation."""

    state: State
    cost: Cost


def evaluate(
    lm: MaskedLM, energy: Energy, tokens: Tensor, context: Tensor, held: Tensor | None = None
) -> EvaluatedState:
    """Evaluate all terms of sequences.

    Args:
        lm: the model.
        energy: the energy whose terms are evaluated.
        tokens: (N, T) long, padded with `lm.pad`.
        context: (N,) long, the context of each sequence.
        held: see `unevaluated`.
    """
    return complete(lm, energy, unevaluated(lm, tokens, context, len(energy.columns), held), energy.terms)


def complete(lm: MaskedLM, energy: Energy, state: State, terms: Sequence[Term]) -> EvaluatedState:
    """Evaluate these terms of states as far as they are not known yet.

    Terms from one pass are evaluated for the states whose scores are NaN, masked conditionals at the positions whose
    features are not known.

    Args:
        lm: the model.
        energy: the energy that gives the states' scores their columns.
        state: the states of N chains.
        terms: the terms of the energy to evaluate.
    """
    state, cost = state._replace(scores=state.scores.clone()), no_cost(state.context)
    for term in terms:
        if term.energy is None:
            continue
        unknown = state.scores[..., energy.columns.index(term.name)].isnan().any(1).nonzero()[:, 0]
        if len(unknown):
            rows = energy.evaluate_one_pass(term, lm, state.tokens, state.context, unknown, state.scores)
            cost = cost.plus(rows, term.expert)
    if any(term.energy is None for term in terms):
        valid = state.tokens.ne(lm.pad)
        missing, features = valid & ~state.known, state.features.clone()
        if len((places := missing.nonzero(as_tuple=True))[0]):
            features[places] = site_features(lm, state.tokens, state.context, places)
        places = valid.nonzero(as_tuple=True)
        energy.set_masked(state.scores, places, lm, features[places], state.tokens[places])
        state = state._replace(features=features, known=torch.ones_like(state.known))
        cost = cost.plus(missing.sum(1))
    return EvaluatedState(state, cost)


def site_features(lm: MaskedLM, tokens: Tensor, context: Tensor, places: Places) -> Tensor:
    """Return the features (P, D) of some positions, each masked in a row of its own.

    Args:
        lm: the model.
        tokens: (M, T) long, padded.
        context: (M,) long, the context of each sequence.
        places: the P positions.
    """
    sequence, site = places
    masked = torch.arange(tokens.size(1), device=tokens.device) == site[:, None]
    return features_of(lm, tokens[sequence], masked, context[sequence])


def masked_scores(lm: MaskedLM, features: Tensor, symbols: Tensor, shares: Sequence[Share] = (norm,)) -> Tensor:
    """Return minus the shares of symbols, for K energies: (P, D), (P,) long -> (P, K) float32 or float64, nats."""
    found = []
    parts = (part.split(query_size(features)) for part in (features, symbols))
    for some_features, some_symbols in zip(*parts, strict=True):
        logits = state_logits(lm, some_features)
        found.append(torch.stack([share(logits, some_symbols) for share in shares], -1))
    return torch.cat(found)


ENERGIES: dict[str, Share] = {"raw": raw, "norm": norm}
