"""Errors that a user's mistake raises, and the words of their messages."""

import difflib
from collections.abc import Iterable, Mapping


class UserError(Exception):
    """A request that cannot be carried out; the message says why and what to do."""


class SentenceError(UserError):
    """A sentence of a batch that cannot be decoded."""


def refuse(refusals: Mapping[str, bool]) -> None:
    """Refuse combinations that mean nothing.

    Args:
        refusals: from each message to whether it applies.

    Raises:
        UserError: with the first message that applies.
    """
    for message, refused in refusals.items():
        if refused:
            raise UserError(message)


def one_line(error: BaseException) -> str:
    """Return another library's message on one line, cut after 300 characters."""
    return " ".join(str(error).split())[:300]


def unloadable(error: BaseException) -> str:
    """Return the message for a checkpoint that fairseq's loader cannot read."""
    if isinstance(error, FileNotFoundError | PermissionError) or "Model file not found" in str(error):
        return one_line(error)
    return f"the checkpoint cannot be loaded (is it damaged, or made for other dictionaries?): {one_line(error)}"


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` for the nearest of the known names, or nothing if none is near."""
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else ""


def unknown_option(message: str, known: Iterable[str]) -> str:
    """Return argparse's message about an unknown option, with its new form, or the name that was perhaps meant."""
    _, unknown, options = message.partition("unrecognized arguments: ")
    if not unknown:
        return message
    name = options.split()[0].partition("=")[0]
    return f"{name} is gone: {REMOVED[name]}" if name in REMOVED else f"unknown: {options}{did_you_mean(name, known)}"


IN_THE_SUM = "use --mh-energy with a list of terms, such as two-stream,teacher.pt:0.5"
DID_NOT_PAY = "it did not pay (docs/experimental.md)"
REMOVED: Mapping[str, str] = {  # options of earlier versions
    "--mh-expert": IN_THE_SUM,
    "--expert": "use --energy with a list of terms, such as two-stream,teacher.pt:0.5",
    "--mh-electric": "use --mh-energy electric.pt",
    "--electric": "use --energy electric.pt",
    "--mh-surrogate": DID_NOT_PAY,
    "--mh-surrogate-passes": DID_NOT_PAY,
    "--mh-thin": "thin the samples that you get",
    "--mh-top-k": "use --mh-nucleus",
    "--mh-proposal": "use --mh-block-size 1 for one position at a time",
    "--mh-proposal-mix": "it is always 0.01",
    "--mh-length-bias": "use --mh-length-reward with --mh-length-select length-model",
}
