"""An `excepthook` that prints one clear line for a user's mistake, instead of a traceback."""

import sys
from traceback import extract_tb
from types import TracebackType

from fairseq import checkpoint_utils, options
from fairseq.data import data_utils
from fairseq_cli import generate, interactive

from fairseq_mh.errors import UserError, unloadable


def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print one line for a user's mistake or an unusable file, and the usual traceback for any other error.

    The arguments are those of `sys.excepthook`.
    """
    if issubclass(kind, KeyboardInterrupt):
        return print("fairseq-mh: interrupted", file=sys.stderr)
    files = [frame.filename for frame in extract_tb(trace)]  # the one that raised last
    line = " ".join(str(error).split())
    if checkpoint_utils.__file__ in files and not isinstance(error, FileNotFoundError | UserError):
        line = unloadable(error)
    elif not _is_mistake(error, files[-1] if files else ""):
        return sys.__excepthook__(kind, error, trace)
    print(f"fairseq-mh: error: {line}", file=sys.stderr)


def _is_mistake(error: BaseException, raised_in: str) -> bool:
    """Return whether an error is a user's mistake: ours, of a file, or of an option that fairseq or numpy refused."""
    if isinstance(error, AssertionError):
        return raised_in in (generate.__file__, interactive.__file__)
    if isinstance(error, ValueError | NotImplementedError):
        return raised_in in (options.__file__, data_utils.__file__) or str(error).startswith("Seed must be")
    return isinstance(error, UserError | OSError)
