"""Reports of operations that make the host wait for a pretend device, with their places in the code."""

import sys
from collections.abc import Callable
from pathlib import Path

import fairseq_mh

PACKAGE = str(Path(fairseq_mh.__file__).parent)

Waits = Callable[[str, str], object]  # (what made the host wait, where: file and line) -> nothing

listener: Waits | None = None  # is called for each wait while a pretend device is on


def set_listener(waits: Waits | None) -> None:
    """Report waits to this function from now on, or to nobody if it is None."""
    global listener
    listener = waits


def current_place() -> str:
    """Return the innermost line of the package in the current call stack, as FILE:LINE."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            return f"{frame.f_code.co_filename[len(PACKAGE) + 1 :]}:{frame.f_lineno}"
        frame = frame.f_back
    return "outside"


def report_wait(what: str) -> None:
    """Report that the host waits for the device."""
    if listener:
        listener(what, current_place())
