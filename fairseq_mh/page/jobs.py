"""Runs decodings in threads for a server. Their number is limited, and an abandoned decoding is stopped."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from fairseq_mh.errors import UserError
from fairseq_mh.page.events import Event

logger = logging.getLogger(__name__)
FAILED = "the server had an error, which is not your mistake: its terminal shows more"
Result = TypeVar("Result")


class BusyError(UserError):
    """The server already works on the largest number of requests that it takes."""


class Jobs:
    """The running decodings of a server.

    Args:
        at_once: the largest number of functions that run at once.
    """

    def __init__(self, at_once: int):
        self.at_once, self.running = at_once, 0

    def begin(self, work: Callable[..., Result], *arguments: Any) -> "asyncio.Future[Result]":
        """Call a function in a separate thread.

        Raises:
            BusyError: if too many functions run already.
        """
        if self.running >= self.at_once:
            raise BusyError(f"the page works on {self.running} requests already: try again in a moment")
        self.running += 1
        job = asyncio.get_running_loop().run_in_executor(None, work, *arguments)
        job.add_done_callback(self._end)
        return job

    def _end(self, job: asyncio.Future) -> None:
        self.running -= 1

    def stream(self, events: Iterable[Event]) -> AsyncIterator[str]:
        """Make events in a separate thread, and return them as lines of JSON while they are made.

        No further event is made when the lines are no longer read. An error, of the user or of the program, is the last
        event.

        Raises:
            BusyError: if too many functions run already.
        """
        loop, queue, abandoned = asyncio.get_running_loop(), asyncio.Queue[Event | None](), threading.Event()

        def put(event: Event | None) -> None:
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(queue.put_nowait, event)

        self.begin(_make, events, put, abandoned)
        return _lines(queue, abandoned)


async def _lines(queue: asyncio.Queue, abandoned: threading.Event) -> AsyncIterator[str]:
    """Yield events as lines of JSON until None, the end of the stream, and report when the reader stops."""
    try:
        while (event := await queue.get()) is not None:
            yield json.dumps(event, ensure_ascii=False) + "\n"
    finally:
        abandoned.set()


def _make(events: Iterable[Event], put: Callable[[Event | None], None], abandoned: threading.Event) -> None:
    """Put events, the error that ends them, if any, and the end of the stream on a queue."""
    try:
        for event in events:
            if abandoned.is_set():
                return logger.info("a request was abandoned")
            put(event)
    except UserError as error:
        put({"kind": "error", "message": str(error)})
    except Exception:
        logger.exception("a request failed")
        put({"kind": "error", "message": FAILED})
    finally:
        put(None)
