"""The position of each chain in its own run: its next update, and the random numbers of its sweep.

Chains do not wait for each other, so a chain whose candidate takes many rows delays no other. The random numbers of a
chain depend only on its own stream and on its own length.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.mcmc.move import Move
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.mcmc.state import FIXED, FREE


class Clocks:
    """The clocks of N chains, on the CPU.

    Args:
        schedule: the schedule of all chains.
        move: the move that plans the updates of each sweep.
        held: (N, T) long, as in `State`.
        streams: one generator for each chain.
    """

    def __init__(self, schedule: Schedule, move: Move, held: Tensor, streams: Sequence[np.random.Generator]):
        self.schedule, self.move, self.streams = schedule, move, streams
        kinds = held.cpu().numpy()
        self._temperatures = np.array([schedule.temperature_at(sweep) for sweep in range(schedule.sweeps + 2)])
        self._free = (kinds == FREE).sum(1)  # (N,)
        self._phrases = np.maximum(kinds.max(1) - FIXED, 0)  # (N,)
        self._sweep = np.ones(len(held), dtype=int)  # the current sweep; after the last sweep, one more
        self._done = np.zeros(len(held), dtype=int)  # finished updates of the sweep
        self._count = np.zeros(len(held), dtype=int)  # all updates of the sweep, at most U
        self._ranks = np.zeros((len(held), 0, held.size(1)), dtype=bool)  # (N, U, T), as in `next`
        self._phrase = np.zeros((len(held), 0), dtype=int)  # (N, U)
        self._uniforms = np.zeros((len(held), 0, 0))  # (N, U, S), of the proposals
        self._acceptance = np.zeros((len(held), 0, 1))  # (N, U, 1), of the acceptances
        self._draw(np.arange(len(held)))

    @property
    def moving(self) -> np.ndarray:
        """Whether each chain (N,) bool has anything to update in its sweep."""
        return self._count > 0

    def next(self, chains: np.ndarray, ahead: int) -> tuple[np.ndarray, ...]:
        """Return the next updates of these chains (M,): as many as their sweeps have left, at most `ahead`.

        Returns:
            Ranks (M, K, T) bool, the ranks of the masked positions among the chain's free ones, all false if a phrase
            moves or the sweep has no update left; phrase (M, K) long, as in `SweepPlan`; uniforms (M, K, S + 1);
            temperature (M,) float64 of the target.
        """
        update = self._done[chains, None] + np.arange(ahead)
        there = update < self._count[chains, None]  # (M, K)
        own = chains[:, None], np.where(there, update, 0)
        ranks, phrase = self._ranks[own] & there[..., None], self._phrase[own] * there
        uniforms = np.concatenate([self._uniforms[own], self._acceptance[own]], axis=2) * there[..., None]
        return ranks, phrase, uniforms, self._temperatures[self._sweep[chains]]

    def advance(self, chains: np.ndarray, updates: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Count this many updates (M,) of these chains (M,) as done.

        Returns:
            The sweep (M,) int that the updates belong to, whether it has ended (M,) bool, and whether the chain goes on
            (M,) bool.
        """
        self._done[chains] += updates
        sweep, ended = self._sweep[chains], self._done[chains] == self._count[chains]
        self._sweep[chains[ended]] += 1
        self._done[chains[ended]] = 0
        self._draw(chains[ended])
        return sweep, ended, ~ended | (sweep < self.schedule.sweeps)

    def _draw(self, chains: np.ndarray) -> None:
        """Plan the current sweep of each of these chains (M,); chains of equal size are planned together.

        A chain's stream gives the positions first, then the uniforms.
        """
        self._count[chains] = 0
        chains = chains[self._sweep[chains] <= self.schedule.sweeps]
        alike = defaultdict(list)
        for chain, *kind in zip(chains, self._sweep[chains], self._free[chains], self._phrases[chains], strict=True):
            alike[tuple(map(int, kind))].append(chain)
        for (sweep, free, phrases), group in alike.items():
            streams = [self.streams[chain] for chain in group]
            plan = self.move.scan(free, phrases, self.schedule.block_size_at(sweep, free), streams)
            draws, count = self.move.draws(plan), plan.phrase.shape[1]
            uniforms = np.stack([stream.random((count, draws + 1)) for stream in streams])
            self._make_room(count, draws)
            self._count[group] = count
            self._ranks[group, :count] = False
            self._ranks[group, :count, :free] = plan.ranks
            self._phrase[group, :count] = plan.phrase
            self._uniforms[group] = 0  # no update reads more uniforms than are set below
            self._uniforms[group, :count, :draws] = uniforms[..., :draws]
            self._acceptance[group, :count] = uniforms[..., draws:]

    def _make_room(self, updates: int, draws: int) -> None:
        """Widen the arrays if a sweep has more updates than any before, or its updates read more uniforms."""
        more = max(updates - self._phrase.shape[1], 0)
        wider = max(draws - self._uniforms.shape[2], 0)
        if more or wider:
            self._ranks = np.pad(self._ranks, ((0, 0), (0, more), (0, 0)))
            self._uniforms = np.pad(self._uniforms, ((0, 0), (0, more), (0, wider)))
            self._acceptance = np.pad(self._acceptance, ((0, 0), (0, more), (0, 0)))
            self._phrase = np.pad(self._phrase, ((0, 0), (0, more)))


def copy_together(device: torch.device, *arrays: np.ndarray) -> list[Tensor]:
    """Copy arrays to a device in one transfer; each transfer would make the CPU wait."""
    # Wide items come first, so that each array begins at a multiple of its item size.
    widest_first = sorted(range(len(arrays)), key=lambda n: -arrays[n].itemsize)
    content = [np.ascontiguousarray(arrays[n]).reshape(-1).view(np.uint8) for n in widest_first]
    parts = torch.from_numpy(np.concatenate(content)).to(device).split([len(part) for part in content])
    copied = dict(zip(widest_first, parts, strict=True))
    dtypes = [torch.from_numpy(array[:0]).dtype for array in arrays]
    return [copied[n].view(dtypes[n]).view(array.shape) for n, array in enumerate(arrays)]
