"""Each chain's own time: which update of which sweep is its next, and the randomness of that sweep.

Chains do not wait for each other, so that one whose candidate takes many rows holds up nobody; what a chain draws
depends on its own stream and length alone, and with it where it goes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.mcmc.schedule import Schedule


class Clocks:
    """Of N chains.

    Args:
        lengths: of the chains.
        streams: one generator a chain.
        decisions: how many uniforms an acceptance takes.
    """

    def __init__(
        self, schedule: Schedule, lengths: Sequence[int], streams: Sequence[np.random.Generator], decisions: int
    ):
        self.schedule, self.lengths, self.streams, self.decisions = schedule, lengths, streams, decisions
        chains, longest = len(lengths), max(lengths)
        self._sweep = np.ones(chains, dtype=int)  # the one that the chain is in; after the last, one more
        self._done, self._updates = np.zeros(chains, dtype=int), np.zeros(chains, dtype=int)  # of the sweep
        self._masked = np.zeros((chains, longest, longest), dtype=bool)
        self._uniforms = np.zeros((chains, longest, 2 * longest + decisions))
        for chain in range(chains):
            self._draw(chain)

    def next(self, chains: Tensor, ahead: int) -> tuple[Tensor, Tensor, Tensor]:
        """The next updates of these chains (M,) long, as many as their sweeps have left, at most `ahead`.

        Returns:
            masked (M, K, T) bool, nothing where the sweep has no update any more; uniforms (M, K, S + decisions);
            temperature (M,) float64, of the target.
        """
        mine = chains.cpu().numpy()
        step = self._done[mine, None] + np.arange(ahead)  # (M, K)
        left = step < self._updates[mine, None]
        step = np.where(left, step, 0)
        temperature = np.array([self.schedule.temperature_at(sweep) for sweep in self._sweep[mine].tolist()])
        found = (self._masked[mine[:, None], step] & left[..., None], self._uniforms[mine[:, None], step], temperature)
        masked, uniforms, tau = (torch.from_numpy(part).to(chains.device) for part in found)
        return masked, uniforms, tau

    def advance(self, chains: Tensor, updates: Tensor) -> tuple[Tensor, Tensor]:
        """So many updates (M,) of these chains (M,) are done.

        Returns:
            the sweep (M,) long that they were of, and whether (M,) bool it is at its end.
        """
        mine = chains.cpu().numpy()
        self._done[mine] += updates.cpu().numpy()
        sweep, ended = self._sweep[mine], self._done[mine] == self._updates[mine]
        for chain in mine[ended].tolist():
            self._sweep[chain] += 1
            self._draw(chain)
        return torch.from_numpy(sweep).to(chains.device), torch.from_numpy(ended).to(chains.device)

    def _draw(self, chain: int) -> None:
        """The chain's own sweep: its updates, and their uniforms."""
        if self._sweep[chain] > self.schedule.sweeps:
            return
        length = self.lengths[chain]
        masked, uniforms = self.schedule.updates(self._sweep[chain], length, self.streams[chain], self.decisions)
        updates = len(masked)
        self._masked[chain, :updates, :length] = masked
        self._uniforms[chain, :updates, : uniforms.shape[1] - self.decisions] = uniforms[:, : -self.decisions]
        self._uniforms[chain, :updates, -self.decisions :] = uniforms[:, -self.decisions :]
        self._done[chain], self._updates[chain] = 0, updates
