"""What a user's mistake raises, and what it must not leave behind."""

import difflib
from collections.abc import Iterable
from pathlib import Path

half_written: list[Path] = []  # what this process has begun to write, and a refused run must not leave behind


class UserError(Exception):
    """What the user asked for cannot be done; the message says why and what to do."""


class SentenceError(UserError):
    """Of a batch's sentences, one cannot be decoded."""


def one_line(error: BaseException) -> str:
    """What another library says of it, for a message of one line."""
    return " ".join(str(error).split())[:300]


def unloadable(error: BaseException) -> str:
    """The message for a checkpoint that fairseq's loader failed on."""
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
