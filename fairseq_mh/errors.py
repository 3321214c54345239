"""What a user's mistake raises, and what it must not leave behind."""

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
