"""Work on a batch in halves, where all of it cannot be worked on because of its size or of a sentence in it."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from fairseq_mh.errors import SentenceError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Words of the errors of torch's CPU allocator, and of libraries that have no exception of their own for it.
SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


def in_halves(
    batch: Sequence[Item], work: Callable[[Sequence[Item]], Result]
) -> Iterator[tuple[Sequence[Item], Result | str]]:
    """Yield the parts of a batch that were worked on at once, each with its result: the whole batch, if it can be.

    The result of an item that alone takes more memory than there is, or that is refused (`SentenceError`), is the
    reason, a string.
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
    """Return whether an error says that memory is used up."""
    said = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in said for sign in SIGNS)
