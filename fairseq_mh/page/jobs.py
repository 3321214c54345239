"""Runs decodings in threads for a server: so many at once, each one stopped when nobody listens to it any more."""

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
FAILED = "this failed, and it is not your mistake: the terminal of the page's server says more"
Result = TypeVar("Result")


class Abandoned(Exception):
    """Nobody listens to a decoding any more."""


class BusyError(UserError):
    """The server works on as many requests as it may."""


class Jobs:
    """The work that goes on; a server has one of these.

    Args:
        at_once: how many pieces of work there may be.
    """

    def __init__(self, at_once: int):
        self.at_once, self.running = at_once, 0

    def begin(self, work: Callable[..., Result], *arguments: Any) -> "asyncio.Future[Result]":
        """Call a function in a thread of its own.

        Raises:
            BusyError: where there is too much work already.
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
        """Begin work that sends events, and return them as lines of JSON, while it goes on.

        What stops reading the lines stops the work: the next `send` raises in its thread. A mistake of the user's, and
        of ours, is the last event.

        Raises:
            BusyError: where there is too much work already.
        """
        loop, events, abandoned = asyncio.get_running_loop(), asyncio.Queue[Event | None](), threading.Event()

        def tell(event: Event | None) -> None:
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(events.put_nowait, event)

        def send(event: Event | None) -> None:
            if abandoned.is_set():
                raise Abandoned
            if event is not None:
                tell(event)

        self.begin(_told, work, send, tell)
        return _lines(events, abandoned)


async def _lines(events: asyncio.Queue, abandoned: threading.Event) -> AsyncIterator[str]:
    try:
        while (event := await events.get()) is not None:
            yield json.dumps(event, ensure_ascii=False) + "\n"
    finally:
        abandoned.set()


def _told(work: Callable[[Send], None], send: Send, tell: Send) -> None:
    try:
        work(send)
    except Abandoned:
        logger.info("a request was abandoned")
    except UserError as error:
        tell({"kind": "error", "message": str(error)})
    except Exception:
        logger.exception("a request failed")
        tell({"kind": "error", "message": FAILED})
    finally:
        tell(None)
