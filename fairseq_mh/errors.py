"""Exceptions for user errors, functions that make their messages, and warnings that are given once."""

import difflib
import re
from collections.abc import Iterable, Mapping
from logging import Logger

SEEDS = range(2**32)  # the seeds that numpy and fairseq take
MOST = 10**6  # of anything that options count: results of that many would not fit into memory
BAD_SEED = f"--seed must be from 0 to {SEEDS[-1]}"


class UserError(Exception):
    """Raised for a request that cannot be carried out; the message says why and what to do."""


class SentenceError(UserError):
    """Raised for a batch with a sentence that cannot be decoded."""


def refuse(refusals: Mapping[str, bool]) -> None:
    """Refuse a request if one of these reasons applies.

    Args:
        refusals: messages, each with whether it applies.

    Raises:
        UserError: with the first message that applies.
    """
    for message, refused in refusals.items():
        if refused:
            raise UserError(message)


def too_many(**counts: int) -> dict[str, bool]:
    """Return a message for each option that counts something, given by its name, and whether its value is too large."""
    return {f"--{name.replace('_', '-')} must be at most {MOST}": count > MOST for name, count in counts.items()}


def one_line(error: BaseException) -> str:
    """Return another library's message on one line, cut after 300 characters.

    A file's error begins with its name, and torch's advice to load unsafely is left out.
    """
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    words = " ".join(str(error).split())
    return words.rpartition("WeightsUnpickler error: ")[2].partition(" Check the documentation of torch.load")[0][:300]


def reason(error: BaseException) -> str:
    """Return why a file cannot be used, without the name of the file and the system's number of the error."""
    return error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)


def unloadable(error: BaseException) -> str:
    """Return the message for a checkpoint that fairseq's loader cannot read."""
    path = str(error).removeprefix("Model file not found: ")
    if path != str(error):
        return f"{path} does not exist; a checkpoint of fairseq-train is expected"
    if isinstance(error, FileNotFoundError | PermissionError):
        return one_line(error)
    if kind := foreign_kind(error):
        return f"the checkpoint holds {kind}, which is not plain data; save the checkpoint again without it"
    return f"the checkpoint cannot be loaded; it may be damaged, or made for other dictionaries: {one_line(error)}"


def foreign_kind(error: BaseException) -> str | None:
    """Return the class or function that torch's safe loader refused to load from a file, or None."""
    found = re.search(r"GLOBAL (\S+)|allowlisted via `add_safe_globals`,? but got <class '(\S+)'>", str(error))
    return found and (found[1] or found[2])


class WarnOnce:
    """Logs a warning about each subject once.

    Args:
        logger: the logger of the module that warns.
    """

    def __init__(self, logger: Logger):
        self.logger = logger
        self.known: set[str] = set()

    def __call__(self, subject: str, message: str) -> None:
        """Log a warning, unless there was one about the subject."""
        if subject not in self.known:
            self.known.add(subject)
            self.logger.warning("%s", message)


def not_unicode(text: str) -> str | None:
    """Return what is wrong with a text that cannot be written in UTF-8, and None for any other text.

    Python reads a byte that is not UTF-8 as a lone surrogate (its error handler `surrogateescape`).
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        kind = f"the byte 0x{code - 0xDC00:X}" if 0xDC80 <= code < 0xDD00 else "half a character (a lone surrogate)"
        return f"not UTF-8: character {error.start + 1} is {kind}"
    return None


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` for the most similar known name, or an empty string if none is similar."""
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else ""


def unknown_option(message: str, known: Iterable[str]) -> str:
    """Add advice to argparse's message about an unknown option.

    Args:
        message: the message of argparse; one about anything else is returned unchanged.
        known: the names of the known options.

    Returns:
        The message, with the replacement of a removed option, or with the most similar known option.
    """
    _, unknown, options = message.partition("unrecognized arguments: ")
    if not unknown:
        return message
    name = options.split()[0].partition("=")[0]
    if name in REMOVED:
        return f"{name} was removed: {REMOVED[name]}"
    return f"unknown option: {options}{did_you_mean(name, known)}"


IN_THE_SUM = "use --mh-energy with a list of terms, such as two-stream,teacher.pt:0.5"
DID_NOT_PAY = "leave it out; it did not make decoding better (docs/experimental.md)"
REMOVED: Mapping[str, str] = {  # options of earlier versions
    "--mh-expert": IN_THE_SUM,
    "--expert": "use --energy with a list of terms, such as two-stream,teacher.pt:0.5",
    "--mh-electric": "use --mh-energy electric.pt",
    "--electric": "use --energy electric.pt",
    "--mh-surrogate": DID_NOT_PAY,
    "--mh-surrogate-passes": DID_NOT_PAY,
    "--mh-thin": "leave it out, and thin the samples that you get",
    "--mh-top-k": "use --mh-nucleus",
    "--mh-proposal": "use --mh-block-size 1 for one position at a time",
    "--mh-proposal-mix": "leave it out; it is always 0.01",
    "--mh-length-bias": "use --mh-length-reward with --mh-length-select length-model",
}
