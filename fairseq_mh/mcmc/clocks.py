"""Each chain's own time: which update of which sweep is its next, and the randomness of that sweep.

Chains do not wait for each other, so that one whose candidate takes many rows holds up nobody; what a chain draws
depends on its own stream and length alone, and so does where it goes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.mcmc.proposal import Proposal
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
        self.width, self._free = held.size(1), (kinds == FREE).sum(1)  # (N,)
        self.phrases = np.maximum(kinds.max(1) - FIXED, 0) * relocates  # (N,): how many move
        self.moving = (self._free > 0) | (self.phrases > 0)  # (N,) bool: have anything to draw again, or to move
        self._sweep = np.ones(len(held), dtype=int)  # the one that the chain is in; after the last, one more
        self._done = np.zeros(len(held), dtype=int)  # updates of the sweep
        self._updates = [self._draw(chain) for chain in range(len(held))]  # of each chain's sweep

    def next(self, chains: np.ndarray, ahead: int) -> tuple[np.ndarray, ...]:
        """Return the next updates of these chains (M,), as many as their sweeps have left, at most `ahead`.

        Returns:
            ranks (M, K, T) bool, of the masked positions among the chain's free ones, from the left, nothing where a
            phrase moves or the sweep has no update any more; uniforms (M, K, S + decisions); temperature (M,) float64,
            of the target; phrase (M, K) long, the number of the phrase that moves, or 0.
        """
        mine = chains.tolist()
        steps = [slice(self._done[chain], self._done[chain] + ahead) for chain in mine]
        own = [[part[step] for part in self._updates[chain]] for chain, step in zip(mine, steps, strict=True)]
        ranks = np.zeros((len(mine), ahead, self.width), dtype=bool)
        phrase = np.zeros((len(mine), ahead), dtype=int)
        uniforms = np.zeros((len(mine), ahead, 2 * self.width + self.decisions))  # what the longest could draw
        for n, (chosen, drawn, moved) in enumerate(own):
            ranks[n, : len(chosen), : chosen.shape[1]] = chosen
            phrase[n, : len(moved)] = moved
            uniforms[n, : len(drawn), : drawn.shape[1] - self.decisions] = drawn[:, : -self.decisions]
            uniforms[n, : len(drawn), -self.decisions :] = drawn[:, -self.decisions :]
        temperature = np.array([self.schedule.temperature_at(sweep) for sweep in self._sweep[mine].tolist()])
        return ranks, uniforms, temperature, phrase

    def advance(self, chains: np.ndarray, updates: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Count so many updates (M,) of these chains (M,) as done.

        Returns:
            the sweep (M,) int that they were of, whether (M,) bool it is at its end, and whether the chain goes on.
        """
        self._done[chains] += updates
        sweep = self._sweep[chains]
        ended = self._done[chains] == [len(self._updates[chain][0]) for chain in chains.tolist()]
        for chain in chains[ended].tolist():
            self._sweep[chain] += 1
            self._done[chain] = 0
            self._updates[chain] = self._draw(chain)
        return sweep, ended, ~ended | (sweep < self.schedule.sweeps)

    def _draw(self, chain: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw a sweep of U updates: ranks (U, free) bool, uniforms (U, S + decisions) and phrases (U,), as in `next`.

        After the last sweep there are none.
        """
        sweep, free, phrases = int(self._sweep[chain]), int(self._free[chain]), int(self.phrases[chain])
        stream = self.streams[chain]
        if sweep > self.schedule.sweeps:
            return np.zeros((0, 0), dtype=bool), np.zeros((0, self.decisions)), np.zeros(0, dtype=int)
        chosen = np.zeros((0, free), dtype=bool)
        if free:
            chosen = self.proposal.scan_positions(free, self.schedule.block_size_at(sweep, free), stream)
        moved = FIRST_PHRASE + np.arange(phrases)
        draws = max(self.proposal.draws(chosen) if free else 0, min(phrases, 1))
        uniforms = stream.random((len(moved) + len(chosen), draws + self.decisions))
        none_masked, none_moved = np.zeros((len(moved), free), dtype=bool), np.zeros(len(chosen), dtype=int)
        return np.concatenate([none_masked, chosen]), uniforms, np.concatenate([moved, none_moved])


def copy_together(device: torch.device, *arrays: np.ndarray) -> list[Tensor]:
    """Copy arrays to a device in one transfer, for each of which the host would wait."""
    widest_first = sorted(range(len(arrays)), key=lambda n: -arrays[n].itemsize)  # so that each begins at its multiple
    content = [np.ascontiguousarray(arrays[n]).reshape(-1).view(np.uint8) for n in widest_first]
    parts = torch.from_numpy(np.concatenate(content)).to(device).split([len(part) for part in content])
    copied = dict(zip(widest_first, parts, strict=True))
    dtypes = [torch.from_numpy(array[:0]).dtype for array in arrays]
    return [copied[n].view(dtypes[n]).view(array.shape) for n, array in enumerate(arrays)]
