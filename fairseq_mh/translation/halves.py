"""Work on a batch in halves if it does not fit into memory, or if one of its sentences is refused."""

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple, TypeVar

import torch

from fairseq_mh.errors import SentenceError

Item = TypeVar("Item")
Event = TypeVar("Event")
Result = TypeVar("Result")

# Words of the errors of torch's CPU allocator, and of libraries that have no exception of their own for it.
SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


class Refused(NamedTuple):
    """The outcome of a sentence that cannot be decoded."""

    reason: str


def in_halves(
    batch: Sequence[Item], work: Callable[[Sequence[Item]], Generator[Event, None, Result]]
) -> Generator[Event, None, list[tuple[Sequence[Item], Result | Refused]]]:
    """Work on a batch, or on its halves where that fails; yield the events of the work.

    Returns:
        the parts that were worked on together, each with its result. An item that does not fit into memory even by
        itself, or that is refused (`SentenceError`), has `Refused` as its result.
    """
    try:
        return [(batch, (yield from work(batch)))]
    except (SentenceError, RuntimeError, MemoryError) as error:
        if isinstance(error, SentenceError):
            refused = Refused(str(error))
        elif out_of_memory(error):
            refused = Refused("too little memory: fewer --mh-chains or --iter-decode-with-beam take less")
        else:
            raise
    if len(batch) == 1:
        return [(batch, refused)]
    torch.cuda.empty_cache()  # the failed attempt lets go of its memory only after the `except`
    middle = len(batch) // 2
    first = yield from in_halves(batch[:middle], work)
    return first + (yield from in_halves(batch[middle:], work))


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory is used up."""
    said = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in said for sign in SIGNS)
