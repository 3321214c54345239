"""One clear line for a user's mistake, instead of a traceback."""

import sys
from pathlib import Path
from traceback import walk_tb
from types import FrameType, TracebackType

from fairseq import checkpoint_utils, options
from fairseq.data import data_utils
from fairseq_cli import generate

from fairseq_mh.errors import UserError, half_written, unloadable


def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """An `excepthook`: one line for a user's mistake or an unusable file, the usual traceback for anything else."""
    line = " ".join(str(error).split())
    if _while_loading(trace) and not isinstance(error, FileNotFoundError | UserError):
        line = unloadable(error)
    elif not isinstance(error, UserError | OSError) and not _of_an_option(error, trace):
        return sys.__excepthook__(kind, error, trace)
    if _while_loading(trace) or isinstance(error, UserError | FileNotFoundError):  # a full disk takes nothing away
        for path in (*half_written, *_results_file(trace)):
            if path.is_file():  # and not /dev/null
                path.unlink()
    print(f"fairseq-mh: error: {line}", file=sys.stderr)


def _frames(trace: TracebackType | None) -> list[FrameType]:
    return [frame for frame, _ in walk_tb(trace)]


def _while_loading(trace: TracebackType | None) -> bool:
    return any(frame.f_code.co_filename == checkpoint_utils.__file__ for frame in _frames(trace))


def _of_an_option(error: BaseException, trace: TracebackType | None) -> bool:
    """Whether fairseq refused an option's value, in its own way."""
    by = _frames(trace)[-1].f_code.co_filename if trace else ""
    refused = by in (options.__file__, data_utils.__file__) or str(error).startswith("Seed must be")  # numpy's
    return isinstance(error, ValueError | NotImplementedError) and refused


def _results_file(trace: TracebackType | None) -> list[Path]:
    """The file of `--results-path`: fairseq opens it first of all, and logs into it."""
    paths = (f.f_locals.get("output_path") for f in _frames(trace) if f.f_code.co_filename == generate.__file__)
    return [Path(path) for path in paths if path]
