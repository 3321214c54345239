"""Masked LMs given by tables, and the enumeration of their states, targets and transitions.

The reference shares no code and no formula with the package. It consists of plain loops over all states in float64, and
computes with probabilities and `min(1, ratio)`, where the package computes with logits and log ratios.
"""

import itertools
import math

import numpy as np
import torch


class TableLM:
    """A masked LM whose logits f(w, t, X_\\t) are looked up in a table.

    Args:
        table: (B, T, (V + 1) ** T, V) float64, for B contexts. The third index is the number of the sequence, in which
            a masked position is symbol V.
    """

    def __init__(self, table: torch.Tensor):
        self.table = table
        self.pad = -1
        self.symbols = table.size(-1)
        self.allowed = torch.ones(self.symbols, dtype=torch.bool)
        self.rows_asked = 0

    def features(self, tokens, masked, context):
        self.rows_asked += len(tokens)
        others = self.code(tokens.masked_fill(masked, self.symbols))
        row, site = masked.nonzero(as_tuple=True)
        return self.table[context[row], site, others[row]]

    def no_features(self, *sizes):
        return self.table.new_zeros(*sizes, self.symbols)

    def project(self, features):
        return features

    def code(self, tokens):
        """Return the number of each sequence (M, T) in the table: (M,) long."""
        powers = (self.symbols + 1) ** torch.arange(self.table.size(1) - 1, -1, -1)
        return (tokens * powers[: tokens.size(1)]).sum(1)


def random_table(symbols: int, length: int, seed: int, contexts: int = 1, scale: float = 1.5) -> TableLM:
    """Return a table of random logits, whose conditionals belong to no joint distribution."""
    generator = torch.Generator().manual_seed(seed)
    shape = (contexts, length, (symbols + 1) ** length, symbols)
    return TableLM(scale * torch.randn(shape, generator=generator, dtype=torch.float64))


def inconsistent_table() -> TableLM:
    """Return the table of section 2.1: p(X1 | X2) is .99 on the diagonal, and p(X2 | X1) is uniform."""
    table = torch.zeros(1, 2, 9, 2, dtype=torch.float64)
    for first, second in itertools.product(range(3), range(3)):
        if second < 2:
            table[0, 0, 3 * first + second] = torch.tensor([0.99, 0.01] if second == 0 else [0.01, 0.99]).log()
    return TableLM(table)


def joint_table(probabilities: np.ndarray) -> TableLM:
    """Return the exact conditionals of a joint distribution over (V,) * T."""
    length, symbols = probabilities.ndim, probabilities.shape[0]
    table = torch.zeros(1, length, (symbols + 1) ** length, symbols, dtype=torch.float64)
    for context in itertools.product(range(symbols + 1), repeat=length):
        number = sum(c * (symbols + 1) ** (length - 1 - i) for i, c in enumerate(context))
        index = tuple(slice(None) if c == symbols else c for c in context)
        for site in range(length):
            index_at = (*index[:site], slice(None), *index[site + 1 :])
            part = probabilities[index_at]
            axis = sum(isinstance(i, slice) for i in index[:site])
            others = tuple(i for i in range(part.ndim) if i != axis)
            table[0, site, number] = torch.tensor(np.log(part.sum(others)))
    return TableLM(table)


# Sums of terms, by name: the weight of each term.
SUMS = {
    "norm + one-pass": {"norm": 0.7, "one-pass": 1.3},
    "raw + bounded": {"raw": 1.0, "bounded": 0.5},
    "bounded + norm": {"bounded": 2.0, "norm": 0.5},
    "raw + norm": {"raw": 0.6, "norm": 0.5},
    "one-pass + bounded": {"one-pass": 0.5, "bounded": 1.5},
}


class TableEnergy:
    """A `OnePassEnergy` whose shares are looked up in a table of random numbers, some above 0 and some below.

    Args:
        bounded: whether no share is below 0.
    """

    def __init__(self, lm: TableLM, seed: int, bounded: bool = False):
        length, self.symbols = lm.table.size(1), lm.symbols
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn(self.symbols**length, length, generator=generator, dtype=torch.float64) * 0.4 + 0.2
        self.table = self.table.abs() if bounded else self.table

    def __call__(self, lm, tokens, context):
        powers = self.symbols ** torch.arange(tokens.size(1) - 1, -1, -1)
        return -self.table[(tokens * powers).sum(1)], torch.ones_like(context)

    def shares(self, state) -> list[float]:
        """Return the share of each position of a state, in nats."""
        number = 0
        for symbol in state:
            number = number * self.symbols + symbol
        return self.table[number].tolist()


def tables_of(lm: TableLM) -> dict[str, TableEnergy]:
    """Return the energies from one pass that `SUMS` names."""
    return {"one-pass": TableEnergy(lm, seed=6), "bounded": TableEnergy(lm, seed=7, bounded=True)}


class Reference:
    """All states of a TableLM's context 0, its target, and the transition matrix of every move.

    Args:
        lm: the table.
        energy: a name of `ENERGIES`, `one-pass`, or a sum of both: see `SUMS`.
        temperature: the temperature of the target.
        q: the proposal's settings: temperature, and optionally nucleus and mix.
        held: the symbols of positions that stay as they are; only states that have them are enumerated.
    """

    def __init__(self, lm: TableLM, energy: str, temperature: float, q: dict, held: dict[int, int] | None = None):
        table, held = lm.table[0].numpy(), held or {}
        self.length, self.symbols = table.shape[0], lm.symbols
        self.free = [site for site in range(self.length) if site not in held]
        every = itertools.product(range(self.symbols), repeat=self.length)
        self.states = [state for state in every if all(state[site] == symbol for site, symbol in held.items())]
        self._table, self._q, self._tables = table, q, tables_of(lm)
        self._name = energy
        weights = np.array([math.exp(-self.energy(state, energy) / temperature) for state in self.states])
        self.weights, self.target = weights, weights / weights.sum()

    def logits(self, state, site, sites):
        """Return the logits at `site` when all of `sites` are masked."""
        code = 0
        for position, symbol in enumerate(state):
            code = code * (self.symbols + 1) + (self.symbols if position in sites else symbol)
        return self._table[site, code]

    def energy(self, state, name):
        """Return the energy of a state, in nats."""
        if name in SUMS:
            return sum(weight * self.energy(state, term) for term, weight in SUMS[name].items())
        if name in self._tables:
            return sum(self._tables[name].shares(state))
        result = 0.0
        for site, symbol in enumerate(state):
            logits = self.logits(state, site, {site})
            share = {
                "raw": logits[symbol],
                "norm": math.log(self.softmax(logits, 1.0)[symbol]),
            }
            result -= share[name]
        return result

    @staticmethod
    def softmax(logits, temperature):
        """Return the probabilities of these logits."""
        powers = [math.exp(value / temperature) for value in logits]
        return [power / sum(powers) for power in powers]

    def conditional(self, state, site, sites):
        """Return the proposal's probability of each symbol: the truncated conditional, mixed with the full one."""
        p = self.softmax(self.logits(state, site, sites), self._q["temperature"])
        kept, mass = set(), 0.0
        for symbol in sorted(range(self.symbols), key=lambda symbol: -p[symbol]):
            if mass < self._q.get("nucleus", math.inf):
                kept.add(symbol)
            mass += p[symbol]
        inside, mix = sum(p[symbol] for symbol in kept), self._q.get("mix", 0.0)
        return [(1 - mix) * (p[w] / inside if w in kept else 0.0) + mix * p[w] for w in range(self.symbols)]

    def proposals(self, state, sites):
        """Yield all candidates of one draw of `sites`, each with its probability and that of the way back."""
        by_site = [self.conditional(state, site, sites) for site in sites]
        for symbols in itertools.product(range(self.symbols), repeat=len(sites)):
            candidate = list(state)
            for site, symbol in zip(sites, symbols, strict=True):
                candidate[site] = symbol
            forward = math.prod(p[symbol] for p, symbol in zip(by_site, symbols, strict=True))
            reverse = math.prod(p[state[site]] for p, site in zip(by_site, sites, strict=True))
            yield tuple(candidate), forward, reverse

    def transition(self, sites) -> np.ndarray:
        """Return P(x -> x') of one update that masks `sites`."""
        return self._metropolis(lambda state: self.proposals(state, sites))

    def choice(self, state, order, floor):
        """Return the probability of choosing these sites one by one, in this order and without replacement."""
        if self._name.startswith("one-pass"):
            certain = [min(1.0, math.exp(-share)) for share in self._tables["one-pass"].shares(state)]
        else:
            certain = [self.softmax(self.logits(state, i, {i}), 1.0)[symbol] for i, symbol in enumerate(state)]
        weights = [1 + floor - p for p in certain]
        left, result = set(self.free), 1.0
        for site in order:
            result *= weights[site] / sum(weights[i] for i in left)
            left.remove(site)
        return result

    def informed_update(self, block_size: int, floor: float) -> np.ndarray:
        """Return P(x -> x') of an informed update; the order in which its sites are chosen is a part of the move.

        If all sites are drawn, there is no order.
        """
        if block_size == len(self.free):
            return self.transition(tuple(self.free))
        return sum(self.informed(order, floor) for order in itertools.permutations(self.free, block_size))

    def informed(self, order: tuple[int, ...], floor: float) -> np.ndarray:
        """Return the part of an informed update's P(x -> x') in which the sites of `order` are chosen."""

        def proposals(state):
            for candidate, forward, reverse in self.proposals(state, order):
                there, back = self.choice(state, order, floor), self.choice(candidate, order, floor)
                yield candidate, there * forward, back * reverse

        return self._metropolis(proposals, whole=False)

    def _metropolis(self, proposals, whole=True) -> np.ndarray:
        """Return P(x -> x') of proposals that are accepted by the ratio.

        Args:
            proposals: a function of a state that yields candidates with their forward and reverse probabilities.
            whole: whether the probabilities of a state's candidates sum to 1.
        """
        number = {state: i for i, state in enumerate(self.states)}
        matrix = np.zeros((len(self.states), len(self.states)))
        for i, state in enumerate(self.states):
            total = 0.0
            for candidate, forward, reverse in proposals(state):
                j = number[candidate]
                total += forward
                if forward > 0:
                    matrix[i, j] += forward * min(1.0, self.weights[j] * reverse / (self.weights[i] * forward))
            matrix[i, i] += (1.0 if whole else total) - matrix[i].sum()
        return matrix

    def sweep(self) -> np.ndarray:
        """Return P(x -> x') of one left-to-right sweep of single sites."""
        parts = (self.transition((site,)) for site in range(self.length))
        return np.linalg.multi_dot([np.eye(len(self.states)), *parts])
