"""One clear line for a user's mistake, instead of a traceback."""

import sys
from types import TracebackType

from fairseq import checkpoint_utils


class UserError(Exception):
    """What the user asked for cannot be done; the message says why and what to do."""


def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """An `excepthook`: one line for a user's mistake or an unusable file, the usual traceback for anything else."""
    line = " ".join(str(error).split())
    if _while_loading(trace) and not isinstance(error, FileNotFoundError | UserError):
        line = f"the checkpoint cannot be loaded (damaged, or not made for this data's dictionaries?): {line[:300]}"
    elif not isinstance(error, UserError | OSError):
        return sys.__excepthook__(kind, error, trace)
    print(f"fairseq-mh: error: {line}", file=sys.stderr)


def _while_loading(trace: TracebackType | None) -> bool:
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == checkpoint_utils.__file__:
            return True
        trace = trace.tb_next
    return False
