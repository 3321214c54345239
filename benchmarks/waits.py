"""What makes the host wait for a pretend device is told here, with its place in the code."""

import sys
from collections.abc import Callable
from pathlib import Path

import fairseq_mh

PACKAGE = str(Path(fairseq_mh.__file__).parent)

Waits = Callable[[str, str], object]  # (what made the host wait, where: file and line) -> nothing

listener: Waits | None = None  # of the device that is on


def listen(waits: Waits | None) -> None:
    """Tell `waits` from now on; None: nobody."""
    global listener
    listener = waits


def place() -> str:
    """Return the innermost line of the package, or of what it calls, that is at work now."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            return f"{frame.f_code.co_filename[len(PACKAGE) + 1 :]}:{frame.f_lineno}"
        frame = frame.f_back
    return "outside"


def tell(what: str) -> None:
    """Say that the host waits for the device."""
    if listener:
        listener(what, place())
