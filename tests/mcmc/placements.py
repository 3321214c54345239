"""Chains that hold phrases, by enumeration: states are sequences together with the place of each phrase.

Nothing here shares a formula with the package, as in `tables.py`: moves are made on plain lists, and a candidate is
possible if it is among the enumerated states.
"""

import itertools
import math

import numpy as np

from tests.mcmc.tables import Reference, TableLM

State = tuple[tuple[int, ...], tuple[int, ...]]  # the symbols, and the first position of each phrase


class PlacedReference(Reference):
    """All states of context 0 that hold the phrases, their target, and the transition matrix of every move.

    Args:
        phrases: the symbols of each phrase.
        ordered: whether the phrases must stand in this order.
        fixed: the symbols of positions that stay as they are.
        lm, energy, temperature, q: as in `Reference`.
    """

    def __init__(
        self,
        lm: TableLM,
        energy: str,
        temperature: float,
        q: dict,
        phrases: list[tuple[int, ...]],
        ordered: bool,
        fixed: dict[int, int] | None = None,
    ):
        super().__init__(lm, energy, temperature, q, fixed)
        self.phrases, self.fixed = phrases, fixed or {}
        sequences = self.states
        self.states: list[State] = []
        for places in itertools.product(range(self.length), repeat=len(phrases)):
            taken = [i + n for i, phrase in zip(places, phrases, strict=True) for n in range(len(phrase))]
            apart = len({*taken, *self.fixed}) == len(taken) + len(self.fixed) and max(taken) < self.length
            if apart and (not ordered or list(places) == sorted(places)):
                self.states += [(state, places) for state in sequences if self._holds(state, places)]
        self.number = {state: i for i, state in enumerate(self.states)}
        self.weights = np.array([math.exp(-self.energy(state, energy) / temperature) for state, _ in self.states])
        self.target = self.weights / self.weights.sum()

    def _holds(self, state, places) -> bool:
        found = (state[i : i + len(phrase)] for i, phrase in zip(places, self.phrases, strict=True))
        return all(symbols == phrase for symbols, phrase in zip(found, self.phrases, strict=True))

    def of_sequences(self) -> dict[tuple[int, ...], float]:
        """Return the target's probability of each sequence, wherever its phrases stand."""
        result: dict[tuple[int, ...], float] = {}
        for (state, _), share in zip(self.states, self.target, strict=True):
            result[state] = result.get(state, 0.0) + share
        return result

    def relocation(self, moved: int) -> np.ndarray:
        """Return P(x -> x') of taking a phrase out and putting it back at a place that is chosen uniformly.

        The other symbols close the gap and make room; fixed positions stay.
        """

        def proposals(state: State):
            symbols, places = state
            cards = list(zip(symbols, self.labels(places), strict=True))
            block = [card for card in cards if card[1] == moved]
            rest = [card for card in cards if card[1] not in (moved, "fixed")]
            probability = 1 / (len(rest) + 1)
            for place in range(len(rest) + 1):
                dealt = rest[:place] + block + rest[place:]
                for site in sorted(self.fixed):
                    dealt.insert(site, cards[site])
                labels = [label for _, label in dealt]
                there = tuple(symbol for symbol, _ in dealt), tuple(map(labels.index, range(len(self.phrases))))
                possible = there in self.number and self.labels(there[1]) == labels
                yield there if possible else state, probability, probability

        return self._metropolis(proposals)

    def labels(self, places) -> list[int | str]:
        """Return a label for each position: the number of a phrase, "fixed", or "free"."""
        found: list[int | str] = ["fixed" if position in self.fixed else "free" for position in range(self.length)]
        for number, (place, phrase) in enumerate(zip(places, self.phrases, strict=True)):
            found[place : place + len(phrase)] = [number] * len(phrase)
        return found

    def redrawing(self, ranks: tuple[int, ...]) -> np.ndarray:
        """Return P(x -> x') of redrawing the free positions of these ranks, counted from the left."""

        def proposals(state: State):
            symbols, places = state
            free = [i for i, label in enumerate(self.labels(places)) if label == "free"]
            for candidate, forward, reverse in self.proposals(symbols, tuple(free[rank] for rank in ranks)):
                yield (candidate, places), forward, reverse

        return self._metropolis(proposals)
