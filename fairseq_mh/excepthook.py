"""An `excepthook` that prints one clear line for a user's mistake, instead of a traceback."""

import sys
from pathlib import Path
from traceback import walk_tb
from types import FrameType, TracebackType

from fairseq import checkpoint_utils, options
from fairseq.data import data_utils
from fairseq_cli import generate

from fairseq_mh.errors import UserError, half_written, unloadable


def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print one line for a user's mistake or an unusable file, and the usual traceback for any other error.

    The arguments are those of `sys.excepthook`. A refused run's half-written files are removed.
    """
    line = " ".join(str(error).split())
    if _while_loading(trace) and not isinstance(error, FileNotFoundError | UserError):
        line = unloadable(error)
    elif not isinstance(error, UserError | OSError) and not _is_refused_option(error, trace):
        return sys.__excepthook__(kind, error, trace)
    # After another OSError, such as a full disk, the half-written files stay.
    if _while_loading(trace) or isinstance(error, UserError | FileNotFoundError):
        for path in (*half_written, *_results_file(trace)):
            if path.is_file():  # /dev/null is no regular file
                path.unlink()
    print(f"fairseq-mh: error: {line}", file=sys.stderr)


def _frames(trace: TracebackType | None) -> list[FrameType]:
    """Return the frames of a traceback, the one that raised last."""
    return [frame for frame, _ in walk_tb(trace)]


def _while_loading(trace: TracebackType | None) -> bool:
    """Return whether the error was raised while fairseq loaded a checkpoint."""
    return any(frame.f_code.co_filename == checkpoint_utils.__file__ for frame in _frames(trace))


def _is_refused_option(error: BaseException, trace: TracebackType | None) -> bool:
    """Return whether fairseq, or numpy for a seed, refused the value of an option."""
    raised_in = _frames(trace)[-1].f_code.co_filename if trace else ""
    refused = raised_in in (options.__file__, data_utils.__file__) or str(error).startswith("Seed must be")
    return isinstance(error, ValueError | NotImplementedError) and refused


def _results_file(trace: TracebackType | None) -> list[Path]:
    """Return the file of `--results-path`, if any: fairseq opens it before it checks anything, and logs into it."""
    frames = (frame for frame in _frames(trace) if frame.f_code.co_filename == generate.__file__)
    paths = (frame.f_locals.get("output_path") for frame in frames)
    return [Path(path) for path in paths if path]
