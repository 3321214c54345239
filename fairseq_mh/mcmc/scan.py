"""Which positions each update of a sweep masks, chosen without a look at the tokens."""

from collections.abc import Callable

import numpy as np

Scan = Callable[[int, int, np.random.Generator], np.ndarray]  # length, block size, stream -> (U, length) bool


def random_scan(length: int, block_size: int, stream: np.random.Generator) -> np.ndarray:
    """Visit every position once, in random order."""
    return _in_blocks(stream.permutation(length), block_size)


def sequential_scan(length: int, block_size: int, stream: np.random.Generator) -> np.ndarray:
    """Visit every position once, from left to right."""
    return _in_blocks(np.arange(length), block_size)


def _in_blocks(order: np.ndarray, block_size: int) -> np.ndarray:
    """Return consecutive blocks of an order of the positions, the last one perhaps smaller: (U, length) bool."""
    masked = np.zeros((-(-len(order) // block_size), len(order)), dtype=bool)
    masked[np.arange(len(order)) // block_size, order] = True
    return masked


SCANS: dict[str, Scan] = {"random": random_scan, "sequential": sequential_scan}
