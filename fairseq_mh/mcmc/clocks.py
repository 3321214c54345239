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


class Clocks:
    """The clocks of N chains.

    Args:
        schedule: of all chains.
        proposal: that the updates are for.
        free: (N, T) bool, the positions of each chain that updates draw again.
        streams: one generator a chain.
        decisions: how many uniforms an acceptance takes.
    """

    def __init__(
        self,
        schedule: Schedule,
        proposal: Proposal,
        free: Tensor,
        streams: Sequence[np.random.Generator],
        decisions: int,
    ):
        self.schedule, self.proposal, self.streams, self.decisions = schedule, proposal, streams, decisions
        self.width = free.size(1)
        self._free = [np.flatnonzero(row) for row in free.cpu().numpy()]
        self.moving = np.array([len(places) > 0 for places in self._free], dtype=bool)  # (N,): have a free position
        self._sweep = np.ones(len(free), dtype=int)  # the one that the chain is in; after the last, one more
        self._done = np.zeros(len(free), dtype=int)  # updates of the sweep
        self._updates = [self._draw(chain) for chain in range(len(free))]  # of each chain's sweep

    def next(self, chains: np.ndarray, ahead: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the next updates of these chains (M,), as many as their sweeps have left, at most `ahead`.

        Returns:
            masked (M, K, T) bool, nothing where the sweep has no update any more; uniforms (M, K, S + decisions);
            temperature (M,) float64, of the target.
        """
        mine = chains.tolist()
        steps = [slice(self._done[chain], self._done[chain] + ahead) for chain in mine]
        own = [[part[step] for part in self._updates[chain]] for chain, step in zip(mine, steps, strict=True)]
        masked = np.zeros((len(mine), ahead, self.width), dtype=bool)
        uniforms = np.zeros((len(mine), ahead, 2 * self.width + self.decisions))  # what the longest could draw
        for n, (positions, drawn) in enumerate(own):
            masked[n, : len(positions), : positions.shape[1]] = positions
            uniforms[n, : len(drawn), : drawn.shape[1] - self.decisions] = drawn[:, : -self.decisions]
            uniforms[n, : len(drawn), -self.decisions :] = drawn[:, -self.decisions :]
        temperature = np.array([self.schedule.temperature_at(sweep) for sweep in self._sweep[mine].tolist()])
        return masked, uniforms, temperature

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

    def _draw(self, chain: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw a sweep: the positions of its U updates (U, length) bool and their uniforms (U, S + decisions).

        After the last sweep there are none, and where no position is free.
        """
        sweep, free, stream = int(self._sweep[chain]), self._free[chain], self.streams[chain]
        if sweep > self.schedule.sweeps or not len(free):
            return np.zeros((0, 0), dtype=bool), np.zeros((0, self.decisions))
        chosen = self.proposal.scan_positions(len(free), self.schedule.block_size_at(sweep, len(free)), stream)
        masked = np.zeros((len(chosen), free[-1] + 1), dtype=bool)
        masked[:, free] = chosen
        return masked, stream.random((len(masked), self.proposal.draws(masked) + self.decisions))


def copy_together(device: torch.device, *arrays: np.ndarray) -> list[Tensor]:
    """Copy arrays to a device in one transfer, for each of which the host would wait."""
    widest_first = sorted(range(len(arrays)), key=lambda n: -arrays[n].itemsize)  # so that each begins at its multiple
    content = [np.ascontiguousarray(arrays[n]).reshape(-1).view(np.uint8) for n in widest_first]
    parts = torch.from_numpy(np.concatenate(content)).to(device).split([len(part) for part in content])
    copied = dict(zip(widest_first, parts, strict=True))
    dtypes = [torch.from_numpy(array[:0]).dtype for array in arrays]
    return [copied[n].view(dtypes[n]).view(array.shape) for n, array in enumerate(arrays)]
