"""Bars that show on standard error how far a command is; every bar of the package is made here."""

import math
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10  # at least, of all bars of a process together, where standard error is not a terminal
REDRAW = 0.1  # seconds between two drawings on a terminal


class Progress(tqdm):
    """A bar on a terminal; elsewhere a line from time to time, so that a log file stays short.

    Args:
        settings: of tqdm, such as `unit` and `total`.
    """

    last_line = -math.inf  # the time of the last line of all bars

    def __init__(self, *args: Any, **settings: Any):
        self.in_place = sys.stderr.isatty()
        self.swept = 0
        settings["leave"] = settings.get("leave", True) and self.in_place  # there is nothing to clear in a file
        super().__init__(*args, mininterval=REDRAW, maxinterval=REDRAW, miniters=0, **settings)

    def refresh(self, *args: Any, **settings: Any) -> None:
        """Draw the bar, unless it is to appear later (`delay`): `write` redraws also bars that have not appeared."""
        if time.time() >= getattr(self, "start_t", 0) + self.delay:  # tqdm draws a bar at once before it sets its start
            super().refresh(*args, **settings)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Draw the bar, or print its line if it is time for one; return whether tqdm has to move the cursor back."""
        if self.in_place:
            return super().display(msg, pos)
        if msg is None and time.monotonic() - Progress.last_line >= SECONDS_BETWEEN_LINES:
            Progress.last_line = time.monotonic()
            print(self, file=self.fp, flush=True)
        return False

    def clear(self, *args: Any, **settings: Any) -> None:
        """Clear the bar from a terminal."""
        if self.in_place:
            super().clear(*args, **settings)

    def sweep(self, ended: int = 1) -> None:
        """Count ended sweeps, which are shown after the bar."""
        self.swept += ended
        self.set_postfix_str(f"{self.swept:,} sweeps", refresh=False)
        self.update(0)

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Draw the bar every second, so that its clock moves while nothing is counted."""
        ended = threading.Event()

        def tick() -> None:
            while not ended.wait(1):
                self.refresh()

        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
