"""A batch that cannot be worked on, because of its size or of a sentence in it, is worked on in halves."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from fairseq_mh.errors import SentenceError

Item = TypeVar("Item")
Result = TypeVar("Result")

# What torch says where no exception of its own tells: the CPU's allocator, and libraries beside it.
SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


def in_halves(
    batch: Sequence[Item], work: Callable[[Sequence[Item]], Result]
) -> Iterator[tuple[Sequence[Item], Result | str]]:
    """The parts of a batch that were worked on at once, each with its result: all of it, if it can be.

    Of an item that alone takes more memory than there is, or that is refused (`SentenceError`), the result is why.
    """
    try:
        yield batch, work(batch)
        return
    except (SentenceError, RuntimeError, MemoryError) as error:
        if isinstance(error, SentenceError):
            reason = str(error)
        elif out_of_memory(error):
            reason = "takes more memory than there is (fewer --mh-chains or --iter-decode-with-beam)"
        else:
            raise
    if len(batch) == 1:
        yield batch, reason
        return
    torch.cuda.empty_cache()  # of what the failed attempt held, which is let go of only after the `except`
    middle = len(batch) // 2
    for half in (batch[:middle], batch[middle:]):
        yield from in_halves(half, work)


def out_of_memory(error: BaseException) -> bool:
    said = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in said for sign in SIGNS)
