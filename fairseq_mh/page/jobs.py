"""Runs decodings in threads for a server. Their number is limited, and an abandoned decoding is stopped."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, TypeVar

from fairseq_mh.errors import UserError
from fairseq_mh.page.events import Event, Send

logger = logging.getLogger(__name__)
FAILED = "the server had an error, which is not your mistake: its terminal shows more"
Result = TypeVar("Result")


class Abandoned(Exception):
    """Raised in a decoding to which nobody listens any more."""


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
        job.add_done_callback(self._ended)
        return job

    def _ended(self, job: asyncio.Future) -> None:
        self.running -= 1

    def stream(self, work: Callable[[Send], None]) -> AsyncIterator[str]:
        """Start a function that sends events, and return the events as lines of JSON while it runs.

        The function is stopped when its lines are no longer read: its next `send` raises. An error, of the user or of
        the program, is sent as the last event.

        Raises:
            BusyError: if too many functions run already.
        """
        loop, events, abandoned = asyncio.get_running_loop(), asyncio.Queue[Event | None](), threading.Event()

        def enqueue(event: Event | None) -> None:
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(events.put_nowait, event)

        def send(event: Event | None) -> None:
            if abandoned.is_set():
                raise Abandoned
            if event is not None:
                enqueue(event)

        self.begin(_run, work, send, enqueue)
        return _lines(events, abandoned)


async def _lines(events: asyncio.Queue, abandoned: threading.Event) -> AsyncIterator[str]:
    """Yield events as lines of JSON until the end of the stream, and report when the reader stops."""
    try:
        while (event := await events.get()) is not None:
            yield json.dumps(event, ensure_ascii=False) + "\n"
    finally:
        abandoned.set()


def _run(work: Callable[[Send], None], send: Send, enqueue: Send) -> None:
    """Call the function, then put its error, if any, and the end of the stream, None, on the queue."""
    try:
        work(send)
    except Abandoned:
        logger.info("a request was abandoned")
    except UserError as error:
        enqueue({"kind": "error", "message": str(error)})
    except Exception:
        logger.exception("a request failed")
        enqueue({"kind": "error", "message": FAILED})
    finally:
        enqueue(None)
