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
        self.width, self.device = free.size(1), free.device
        self._free = [np.flatnonzero(row) for row in free.cpu().numpy()]
        self._sweep = np.ones(len(free), dtype=int)  # the one that the chain is in; after the last, one more
        self._done = np.zeros(len(free), dtype=int)  # updates of the sweep
        self._updates = [self._draw(chain) for chain in range(len(free))]  # of each chain's sweep

    def next(self, chains: Tensor, ahead: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the next updates of these chains (M,) long, as many as their sweeps have left, at most `ahead`.

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
        return self._tensor(masked), self._tensor(uniforms), self._tensor(temperature)

    def advance(self, chains: Tensor, updates: Tensor) -> tuple[Tensor, Tensor]:
        """Count so many updates (M,) of these chains (M,) as done.

        Returns:
            the sweep (M,) long that they were of, and whether (M,) bool it is at its end.
        """
        mine = chains.cpu().numpy()
        self._done[mine] += updates.cpu().numpy()
        sweep = self._sweep[mine]
        ended = self._done[mine] == [len(self._updates[chain][0]) for chain in mine]
        for chain in mine[ended].tolist():
            self._sweep[chain] += 1
            self._done[chain] = 0
            self._updates[chain] = self._draw(chain)
        return self._tensor(sweep), self._tensor(ended)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)

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
