"""An `excepthook` that prints one line instead of a traceback for a user error."""

import sys
from traceback import extract_tb
from types import TracebackType

from fairseq import checkpoint_utils, options
from fairseq.data import data_utils
from fairseq_cli import generate, interactive

from fairseq_mh.errors import UserError, one_line, unloadable


def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print one line for a user error or an unusable file, and the usual traceback for any other error.

    Args:
        kind, error, trace: as in `sys.excepthook`.
    """
    if issubclass(kind, KeyboardInterrupt):
        return print("fairseq-mh: interrupted", file=sys.stderr)
    files = [frame.filename for frame in extract_tb(trace)]  # the last one raised the error
    line = one_line(error) if isinstance(error, OSError) else " ".join(str(error).split())
    if checkpoint_utils.__file__ in files and not isinstance(error, FileNotFoundError | UserError):
        line = unloadable(error)
    elif not _is_mistake(error, files[-1] if files else ""):
        return sys.__excepthook__(kind, error, trace)
    print(f"fairseq-mh: error: {line}", file=sys.stderr)


def _is_mistake(error: BaseException, raised_in: str) -> bool:
    """Tell whether an error is a `UserError`, a file error, or the refusal of an option by fairseq or numpy."""
    if isinstance(error, AssertionError):
        return raised_in in (generate.__file__, interactive.__file__)
    if isinstance(error, ValueError | NotImplementedError):
        return raised_in in (options.__file__, data_utils.__file__) or str(error).startswith("Seed must be")
    return isinstance(error, UserError | OSError)
