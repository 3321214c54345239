"""Masked LMs given by tables, and everything about their chains by enumeration.

The reference here shares no code and no formula with the package: plain loops over all states,
in float64, from probabilities rather than logits, with `min(1, ratio)` rather than a log ratio.
"""

import itertools
import math

import numpy as np
import torch


class TableLM:
    """Logits f(w, t, X_\\t) looked up in a table; a masked position reads as symbol V of its context.

    table: (B, T, (V + 1) ** T, V) float64, for B contexts; symbol indices are states' symbols.
    """

    def __init__(self, table: torch.Tensor):
        self.table = table
        self.pad = -1
        self.symbols = table.size(-1)
        self.allowed = torch.ones(self.symbols, dtype=torch.bool)
        self.rows_asked = 0

    def features(self, tokens, masked, rows):
        self.rows_asked += len(tokens)
        context = self.code(tokens.masked_fill(masked, self.symbols))
        row, site = masked.nonzero(as_tuple=True)
        return self.table[rows[row], site, context[row]]

    def project(self, features):
        return features

    def code(self, tokens):
        places = (self.symbols + 1) ** torch.arange(self.table.size(1) - 1, -1, -1)
        return (tokens * places[: tokens.size(1)]).sum(1)


def random_table(symbols: int, length: int, seed: int, contexts: int = 1, scale: float = 1.5) -> TableLM:
    """Random logits: conditionals that no joint distribution has."""
    generator = torch.Generator().manual_seed(seed)
    shape = (contexts, length, (symbols + 1) ** length, symbols)
    return TableLM(scale * torch.randn(shape, generator=generator, dtype=torch.float64))


def inconsistent_table() -> TableLM:
    """Section 2.1: p(X1 | X2) is .99 on the diagonal, p(X2 | X1) is uniform."""
    table = torch.zeros(1, 2, 9, 2, dtype=torch.float64)
    for first, second in itertools.product(range(3), range(3)):
        if second < 2:
            table[0, 0, 3 * first + second] = torch.tensor([0.99, 0.01] if second == 0 else [0.01, 0.99]).log()
    return TableLM(table)


def joint_table(probabilities: np.ndarray) -> TableLM:
    """The exact conditionals of a joint distribution over (V,) * T."""
    length, symbols = probabilities.ndim, probabilities.shape[0]
    table = torch.zeros(1, length, (symbols + 1) ** length, symbols, dtype=torch.float64)
    for context in itertools.product(range(symbols + 1), repeat=length):
        number = sum(c * (symbols + 1) ** (length - 1 - i) for i, c in enumerate(context))
        index = tuple(slice(None) if c == symbols else c for c in context)
        for site in range(length):
            index_at = (*index[:site], slice(None), *index[site + 1 :])
            block = probabilities[index_at]
            axis = sum(isinstance(part, slice) for part in index[:site])
            others = tuple(i for i in range(block.ndim) if i != axis)
            table[0, site, number] = torch.tensor(np.log(block.sum(others)))
    return TableLM(table)


class Reference:
    """All states of a TableLM's context 0, its target, and the transition matrix of each site's update."""

    def __init__(self, lm: TableLM, energy: str, temperature: float, proposal_temperature: float):
        table = lm.table[0].numpy()
        self.length, self.symbols = table.shape[0], lm.symbols
        self.states = list(itertools.product(range(self.symbols), repeat=self.length))
        self._table, self._tau, self._tau_q = table, temperature, proposal_temperature
        weights = np.array([math.exp(-self.energy(state, energy) / temperature) for state in self.states])
        self.weights, self.target = weights, weights / weights.sum()

    def logits(self, state, site):
        code = 0
        for position, symbol in enumerate(state):
            code = code * (self.symbols + 1) + (self.symbols if position == site else symbol)
        return self._table[site, code]

    def energy(self, state, name):
        result = 0.0
        for site, symbol in enumerate(state):
            logits = self.logits(state, site)
            result -= {"raw": logits[symbol], "norm": math.log(self.softmax(logits, 1.0)[symbol])}[name]
        return result

    @staticmethod
    def softmax(logits, temperature):
        powers = [math.exp(value / temperature) for value in logits]
        return [power / sum(powers) for power in powers]

    def transition(self, site: int) -> np.ndarray:
        """P(x -> x') of one update of one site."""
        number = {state: i for i, state in enumerate(self.states)}
        matrix = np.zeros((len(self.states), len(self.states)))
        for i, state in enumerate(self.states):
            probabilities = self.softmax(self.logits(state, site), self._tau_q)
            for symbol, probability in enumerate(probabilities):
                j = number[(*state[:site], symbol, *state[site + 1 :])]
                ratio = self.weights[j] * probabilities[state[site]] / (self.weights[i] * probability)
                matrix[i, j] += probability * min(1.0, ratio)
            matrix[i, i] += 1.0 - matrix[i].sum()
        return matrix

    def sweep(self) -> np.ndarray:
        """The matrix of one left-to-right sweep."""
        return np.linalg.multi_dot([np.eye(len(self.states)), *(self.transition(s) for s in range(self.length))])
