"""Each chain's own time: which update of which sweep is its next, and the randomness of that sweep.

Chains do not wait for each other, so that one whose candidate takes many rows holds up nobody; what a chain draws
depends on its own stream and length alone, and so does where it goes.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.mcmc.moves.masked import Proposal
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.mcmc.state import FIRST_PHRASE, FIXED, FREE


class Clocks:
    """The clocks of N chains.

    Args:
        schedule: of all chains.
        proposal: that the updates are for.
        held: (N, T) long, as of `State`.
        streams: one generator a chain.
        decisions: how many uniforms an acceptance takes.
        relocates: whether a sweep also moves each phrase, before it draws the free positions again.
    """

    def __init__(
        self,
        schedule: Schedule,
        proposal: Proposal,
        held: Tensor,
        streams: Sequence[np.random.Generator],
        decisions: int,
        relocates: bool = False,
    ):
        self.schedule, self.proposal, self.streams, self.decisions = schedule, proposal, streams, decisions
        kinds = held.cpu().numpy()
        self._temperatures = np.array([schedule.temperature_at(sweep) for sweep in range(schedule.sweeps + 2)])
        self.width, self._free = held.size(1), (kinds == FREE).sum(1)  # (N,)
        self.phrases = np.maximum(kinds.max(1) - FIXED, 0) * relocates  # (N,): how many move
        self.moving = (self._free > 0) | (self.phrases > 0)  # (N,) bool: have anything to draw again, or to move
        self._sweep = np.ones(len(held), dtype=int)  # the one that the chain is in; after the last, one more
        self._done = np.zeros(len(held), dtype=int)  # updates of the sweep
        self._count = np.zeros(len(held), dtype=int)  # all of the sweep's updates: U at most
        self._ranks = np.zeros((len(held), 0, self.width), dtype=bool)  # (N, U, T), as in `next`
        self._uniforms = np.zeros((len(held), 0, 0))  # (N, U, S), the proposal's
        self._decisions = np.zeros((len(held), 0, decisions))  # (N, U, decisions), the acceptance's
        self._phrase = np.zeros((len(held), 0), dtype=int)  # (N, U)
        self._draw(np.arange(len(held)))

    def next(self, chains: np.ndarray, ahead: int) -> tuple[np.ndarray, ...]:
        """Return the next updates of these chains (M,), as many as their sweeps have left, at most `ahead`.

        Returns:
            ranks (M, K, T) bool, of the masked positions among the chain's free ones, from the left, nothing where a
            phrase moves or the sweep has no update any more; uniforms (M, K, S + decisions); temperature (M,) float64,
            of the target; phrase (M, K) long, the number of the phrase that moves, or 0.
        """
        update = self._done[chains, None] + np.arange(ahead)
        there = update < self._count[chains, None]  # (M, K)
        own = chains[:, None], np.where(there, update, 0)
        ranks, phrase = self._ranks[own] & there[..., None], self._phrase[own] * there
        uniforms = np.concatenate([self._uniforms[own], self._decisions[own]], axis=2) * there[..., None]
        return ranks, uniforms, self._temperatures[self._sweep[chains]], phrase

    def advance(self, chains: np.ndarray, updates: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Count so many updates (M,) of these chains (M,) as done.

        Returns:
            the sweep (M,) int that they were of, whether (M,) bool it is at its end, and whether the chain goes on.
        """
        self._done[chains] += updates
        sweep, ended = self._sweep[chains], self._done[chains] == self._count[chains]
        self._sweep[chains[ended]] += 1
        self._done[chains[ended]] = 0
        self._draw(chains[ended])
        return sweep, ended, ~ended | (sweep < self.schedule.sweeps)

    def _draw(self, chains: np.ndarray) -> None:
        """Draw the sweep that each of these chains (M,) is in, of as many alike together; after the last there is none.

        A chain's stream gives the positions first, then the uniforms.
        """
        self._count[chains] = 0
        chains = chains[self._sweep[chains] <= self.schedule.sweeps]
        alike = defaultdict(list)
        for chain, *kind in zip(chains, self._sweep[chains], self._free[chains], self.phrases[chains], strict=True):
            alike[*map(int, kind)].append(chain)
        for (sweep, free, phrases), group in alike.items():
            streams = [self.streams[chain] for chain in group]
            ranks = np.zeros((len(group), 0, free), dtype=bool)
            if free:
                ranks = self.proposal.scan_positions(free, self.schedule.block_size_at(sweep, free), streams)
            draws = max(self.proposal.draws(ranks) if free else 0, min(phrases, 1))
            count = phrases + ranks.shape[1]
            uniforms = np.stack([stream.random((count, draws + self.decisions)) for stream in streams])
            self._make_room(count, draws)
            self._count[group] = count
            self._ranks[group, :phrases] = False
            self._ranks[group, phrases:count, :free] = ranks
            self._phrase[group, :count] = np.arange(count) + FIRST_PHRASE
            self._phrase[group, phrases:count] = 0
            self._uniforms[group] = 0  # behind those that its updates read
            self._uniforms[group, :count, :draws] = uniforms[..., :draws]
            self._decisions[group, :count] = uniforms[..., draws:]

    def _make_room(self, updates: int, draws: int) -> None:
        """Widen the arrays where a sweep has more updates than any before, or its updates read more uniforms."""
        more = max(updates - self._phrase.shape[1], 0)
        wider = max(draws - self._uniforms.shape[2], 0)
        if more or wider:
            self._ranks = np.pad(self._ranks, ((0, 0), (0, more), (0, 0)))
            self._uniforms = np.pad(self._uniforms, ((0, 0), (0, more), (0, wider)))
            self._decisions = np.pad(self._decisions, ((0, 0), (0, more), (0, 0)))
            self._phrase = np.pad(self._phrase, ((0, 0), (0, more)))


def copy_together(device: torch.device, *arrays: np.ndarray) -> list[Tensor]:
    """Copy arrays to a device in one transfer, for each of which the host would wait."""
    widest_first = sorted(range(len(arrays)), key=lambda n: -arrays[n].itemsize)  # so that each begins at its multiple
    content = [np.ascontiguousarray(arrays[n]).reshape(-1).view(np.uint8) for n in widest_first]
    parts = torch.from_numpy(np.concatenate(content)).to(device).split([len(part) for part in content])
    copied = dict(zip(widest_first, parts, strict=True))
    dtypes = [torch.from_numpy(array[:0]).dtype for array in arrays]
    return [copied[n].view(dtypes[n]).view(array.shape) for n, array in enumerate(arrays)]
