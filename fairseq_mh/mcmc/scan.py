"""Which positions each update of a sweep masks, chosen without a look at the tokens."""

from collections.abc import Callable, Sequence

import numpy as np

Streams = Sequence[np.random.Generator]  # one a chain
Scan = Callable[[int, int, Streams], np.ndarray]  # length, block size, streams of N chains -> (N, U, length) bool


def random_scan(length: int, block_size: int, streams: Streams) -> np.ndarray:
    """Visit every position once, in random order."""
    return _in_blocks(np.stack([stream.permutation(length) for stream in streams]), block_size)


def sequential_scan(length: int, block_size: int, streams: Streams) -> np.ndarray:
    """Visit every position once, from left to right."""
    return _in_blocks(np.tile(np.arange(length), (len(streams), 1)), block_size)


def _in_blocks(order: np.ndarray, block_size: int) -> np.ndarray:
    """Return consecutive blocks of an order (N, length) of the positions, the last one perhaps smaller."""
    chains, length = order.shape
    masked = np.zeros((chains, -(-length // block_size), length), dtype=bool)
    masked[np.arange(chains)[:, None], np.arange(length) // block_size, order] = True
    return masked


SCANS: dict[str, Scan] = {"random": random_scan, "sequential": sequential_scan}
