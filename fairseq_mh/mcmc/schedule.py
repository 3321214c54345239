"""When each position is updated, how many at once, at which temperature, and which states count.

A sweep (the paper's epoch) updates each position of a chain once, in blocks; an informed sweep makes as
many updates and leaves the choice of the position to the proposal. The target's temperature and the
size of the blocks are constant or change linearly with the sweeps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Schedule:
    """Sweeps of a run, counted from 1; sweep 0 is the start.

    Args:
        sweeps: all of them, burn-in included.
        burn_in: the sweep whose end is the first sample; with 0 the start is one.
        thin: of the others, every thin-th is a sample, the last one always.
        temperature, final_temperature: tau at the first and at the last sweep.
        block_size, final_block_size: positions masked at once at the first and at the last sweep; 0 is all of them.
        scan: a name of `SCANS`.

    Raises:
        ValueError: for settings that no run can have.
    """

    sweeps: int
    burn_in: int = 0
    thin: int = 1
    temperature: float = 1.0
    final_temperature: float = 1.0
    block_size: int = 1
    final_block_size: int = 1
    scan: str = "random"

    def __post_init__(self):
        if self.sweeps < 0:
            raise ValueError(f"the number of sweeps must not be negative, and is {self.sweeps}")
        if not 0 <= self.burn_in <= self.sweeps:
            raise ValueError(f"burn-in must leave a state: {self.burn_in} of {self.sweeps} sweeps")
        if self.thin < 1:
            raise ValueError(f"thinning must be 1 or more, and is {self.thin}")
        if not all(0 < temperature < math.inf for temperature in (self.temperature, self.final_temperature)):
            raise ValueError("temperatures must be above 0, and finite")
        if min(self.block_size, self.final_block_size) < 0:
            raise ValueError("block sizes must be 1 or more, or 0 for all positions")

    def temperature_at(self, sweep: int) -> float:
        """tau of a sweep in 1..sweeps; the start (0) is given the first sweep's."""
        return self._between(sweep, self.temperature, self.final_temperature)

    def block_at(self, sweep: int, length: int) -> int:
        """How many of a chain's positions a sweep masks at once."""
        first, last = (min(size or length, length) for size in (self.block_size, self.final_block_size))
        return round(self._between(sweep, first, last))

    def _between(self, sweep: int, first: float, last: float) -> float:
        return first + max(sweep - 1, 0) / max(self.sweeps - 1, 1) * (last - first)

    def is_sample(self, sweep: int) -> bool:
        return sweep >= self.burn_in and (self.sweeps - sweep) % self.thin == 0

    def updates(
        self, sweep: int, length: int, stream: np.random.Generator, decisions: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """One chain's updates in a sweep.

        Returns:
            masked (U, length) bool: the positions of each update.
            uniforms (U, S + decisions) in [0, 1): S for the proposal, the last ones for the acceptance.
        """
        offered = SCANS[self.scan](length, self.block_at(sweep, length), stream)
        draws = 2 * length if self.scan == "informed" else offered.sum(1).max()
        return offered, stream.random((len(offered), draws + decisions))


def random_scan(length: int, block: int, stream: np.random.Generator) -> np.ndarray:
    """Every position once, in random order."""
    return _blocks(stream.permutation(length), block)


def sequential_scan(length: int, block: int, stream: np.random.Generator) -> np.ndarray:
    """Every position once, left to right."""
    return _blocks(np.arange(length), block)


def informed_scan(length: int, block: int, stream: np.random.Generator) -> np.ndarray:
    """As many updates; the proposal looks at how many positions each masks, and chooses which (`informed`)."""
    return sequential_scan(length, block, stream)


def _blocks(order: np.ndarray, block: int) -> np.ndarray:
    """Consecutive blocks of an order of the positions: (U, length) bool."""
    masked = np.zeros((-(-len(order) // block), len(order)), dtype=bool)
    masked[np.arange(len(order)) // block, order] = True
    return masked


Scan = Callable[[int, int, np.random.Generator], np.ndarray]  # length, block size, stream -> (U, length) bool
SCANS: dict[str, Scan] = {"random": random_scan, "sequential": sequential_scan, "informed": informed_scan}
