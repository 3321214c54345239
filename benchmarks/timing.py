"""A clock for work on a CPU or a GPU."""

import time
from collections.abc import Callable

import torch

REPEATS = 3  # number of runs; the fastest one counts, because other work on the machine can only slow a run down


def seconds(work: Callable[[], object]) -> float:
    """Return the seconds that this work takes; if a GPU is in use, wait until it has finished, too."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter() - start
