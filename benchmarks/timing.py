"""How long work takes."""

import time
from collections.abc import Callable

import torch

REPEATS = 3  # the fastest run counts, because other work on the machine can only slow a run down


def seconds(work: Callable[[], object]) -> float:
    """Return how many seconds this work takes, on a GPU as well where one is in use."""
    begin = time.perf_counter()
    work()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter() - begin
