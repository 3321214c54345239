"""A batch that does not fit into memory is worked on in halves."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from fairseq_mh.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

# What torch says where no exception of its own tells: the CPU's allocator, and libraries beside it.
SIGNS = ("out of memory", "can't allocate memory", "not enough memory")


def in_halves(
    batch: Sequence[Item], work: Callable[[Sequence[Item]], Result]
) -> Iterator[tuple[Sequence[Item], Result]]:
    """The parts of a batch that were worked on at once, each with its result; all of it, if it fits.

    Raises:
        UserError: where an item alone does not fit.
    """
    try:
        done = work(batch)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        if len(batch) == 1:
            raise UserError(
                f"{batch[0]} alone takes more memory than there is: fewer --mh-chains or --iter-decode-with-beam"
            ) from None
    else:
        yield batch, done
        return
    torch.cuda.empty_cache()  # of what the failed attempt held, which is let go of only after the `except`
    middle = len(batch) // 2
    for half in (batch[:middle], batch[middle:]):
        yield from in_halves(half, work)


def out_of_memory(error: BaseException) -> bool:
    said = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in said for sign in SIGNS)
