"""The schedule of a chain: sweeps, burn-in, temperatures and block sizes.

A sweep (the paper's epoch) updates each position of a chain once, in blocks; an informed sweep makes as many updates
and chooses their positions itself. The temperature of the target and the block size are constant or change linearly
with the sweeps.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """The sweeps of a run, counted from 1; sweep 0 is the start.

    Args:
        sweeps: the number of all sweeps, burn-in included.
        burn_in: the sweep whose end is the first sample; if it is 0, the start is a sample, too.
        temperature, final_temperature: tau at the first and at the last sweep.
        block_size, final_block_size: how many positions the first and the last sweep mask at once; 0 is all.

    Raises:
        ValueError: for invalid settings.
    """

    sweeps: int
    burn_in: int = 0
    temperature: float = 1.0
    final_temperature: float = 1.0
    block_size: int = 1
    final_block_size: int = 1

    def __post_init__(self):
        if self.sweeps < 0:
            raise ValueError(f"the number of sweeps must not be negative, and is {self.sweeps}")
        if not 0 <= self.burn_in <= self.sweeps:
            raise ValueError(f"burn-in must leave a state: {self.burn_in} of {self.sweeps} sweeps")
        if not all(0 < temperature < math.inf for temperature in (self.temperature, self.final_temperature)):
            raise ValueError("temperatures must be above 0, and finite")
        if min(self.block_size, self.final_block_size) < 0:
            raise ValueError("block sizes must be 1 or more, or 0 for all positions")

    def temperature_at(self, sweep: int) -> float:
        """Return tau of a sweep in 1..sweeps; for the start (0), that of the first sweep."""
        return self._between(sweep, self.temperature, self.final_temperature)

    def block_size_at(self, sweep: int, length: int) -> int:
        """Return how many of a chain's positions a sweep masks at once."""
        first, last = (min(size or length, length) for size in (self.block_size, self.final_block_size))
        return round(self._between(sweep, first, last))

    def _between(self, sweep: int, first: float, last: float) -> float:
        return first + max(sweep - 1, 0) / max(self.sweeps - 1, 1) * (last - first)
