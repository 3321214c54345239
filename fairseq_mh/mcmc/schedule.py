"""When each position is updated, at which temperature, and which states count.

A sweep (the paper's epoch) updates each position of a chain once. The target's temperature is
constant or falls linearly with the sweeps; only a chain at constant temperature is homogeneous,
so only on such a chain do convergence diagnostics mean anything.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Schedule:
    """Sweeps of a run, counted from 1; sweep 0 is the start.

    Args:
        sweeps: all of them, burn-in included.
        burn_in: sweeps at the beginning whose states are no samples; with 0 the start is a sample too.
        thin: of the others, every thin-th is a sample, the last one always.
        temperature, final_temperature: tau at the first and at the last sweep.
        scan: a name of `SCANS`.

    Raises:
        ValueError: for settings that no run can have.
    """

    sweeps: int
    burn_in: int = 0
    thin: int = 1
    temperature: float = 1.0
    final_temperature: float = 1.0
    scan: str = "random"

    def __post_init__(self):
        if self.sweeps < 0:
            raise ValueError(f"the number of sweeps must not be negative, and is {self.sweeps}")
        if not 0 <= self.burn_in <= self.sweeps:
            raise ValueError(f"burn-in must leave a state: {self.burn_in} of {self.sweeps} sweeps")
        if self.thin < 1:
            raise ValueError(f"thinning must be 1 or more, and is {self.thin}")
        if not (self.temperature > 0 and self.final_temperature > 0):
            raise ValueError("temperatures must be above 0")

    @property
    def homogeneous(self) -> bool:
        return self.temperature == self.final_temperature

    def temperature_at(self, sweep: int) -> float:
        """tau of a sweep in 1..sweeps; the start (0) is given the first sweep's."""
        share = max(sweep - 1, 0) / max(self.sweeps - 1, 1)
        return self.temperature + share * (self.final_temperature - self.temperature)

    def is_sample(self, sweep: int) -> bool:
        return sweep >= self.burn_in and (self.sweeps - sweep) % self.thin == 0


def random_scan(length: int, stream: np.random.Generator) -> np.ndarray:
    """Every position once, in random order."""
    return stream.permutation(length)


def sequential_scan(length: int, stream: np.random.Generator) -> np.ndarray:
    """Every position once, left to right."""
    return np.arange(length)


Scan = Callable[[int, np.random.Generator], np.ndarray]
SCANS: dict[str, Scan] = {"random": random_scan, "sequential": sequential_scan}
