"""Splitting of a batch into halves if it does not fit into memory, or if one of its sentences is refused."""

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

import torch

from fairseq_mh.errors import SentenceError

Item = TypeVar("Item")
Event = TypeVar("Event")
Result = TypeVar("Result")

# Words in messages of torch's CPU allocator and of libraries that have no special exception for it.
SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


def in_halves(
    batch: Sequence[Item], work: Callable[[Sequence[Item]], Generator[Event, None, Result]]
) -> Generator[Event, None, list[tuple[Sequence[Item], Result | SentenceError]]]:
    """Work on a batch, or on its halves if that fails.

    Args:
        batch: the items.
        work: works on a part of the batch; a generator that yields events and returns a result.

    Yields:
        The events of the work.

    Returns:
        The parts that were worked on together, each with its result. The result is an error, `KIND: DETAILS`, for a
        single item that raises `SentenceError` or does not fit into memory.
    """
    try:
        return [(batch, (yield from work(batch)))]
    except (SentenceError, RuntimeError, MemoryError) as error:
        if isinstance(error, SentenceError):
            refused = SentenceError(str(error))  # without the traceback, which keeps tensors alive
        elif out_of_memory(error):
            refused = SentenceError("too little memory: reduce --mh-chains or --iter-decode-with-beam")
        else:
            raise
    if len(batch) == 1:
        return [(batch, refused)]
    torch.cuda.empty_cache()  # only here, because the exception keeps the tensors of the failed attempt alive
    middle = len(batch) // 2
    first = yield from in_halves(batch[:middle], work)
    return first + (yield from in_halves(batch[middle:], work))


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that there is not enough memory."""
    message = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in message for sign in SIGNS)
