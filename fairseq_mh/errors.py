"""The errors that a user's mistake raises, and the words of their messages."""

import difflib
from collections.abc import Iterable
from pathlib import Path

begun: set[Path] = set()  # files that this process has made and written nothing to; a run that is refused removes them


class UserError(Exception):
    """What the user asked for cannot be done; the message says why and what to do."""


class SentenceError(UserError):
    """One sentence of a batch cannot be decoded."""


def one_line(error: BaseException) -> str:
    """Return another library's message on one line, at most 300 characters of it."""
    return " ".join(str(error).split())[:300]


def unloadable(error: BaseException) -> str:
    """Return the message for a checkpoint that fairseq's loader cannot read."""
    if isinstance(error, FileNotFoundError | PermissionError) or "Model file not found" in str(error):
        return one_line(error)
    return f"the checkpoint cannot be loaded (damaged, or not made for this data's dictionaries?): {one_line(error)}"


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` for the nearest of the known names, or nothing where none is near."""
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else ""


def unknown_option(message: str, known: Iterable[str]) -> str:
    """Return argparse's message of an option that it does not know, with the name that was perhaps meant."""
    _, unknown, options = message.partition("unrecognized arguments: ")
    if not unknown:
        return message
    return f"unknown: {options}{did_you_mean(options.split()[0].partition('=')[0], known)}"
