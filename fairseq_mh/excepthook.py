"""An `excepthook` that prints one clear line for a user's mistake, instead of a traceback."""

import sys
from pathlib import Path
from traceback import walk_tb
from types import FrameType, TracebackType

from fairseq import checkpoint_utils, options
from fairseq.data import data_utils
from fairseq_cli import generate, interactive

from fairseq_mh.errors import UserError, begun, unloadable


def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print one line for a user's mistake or an unusable file, and the usual traceback for any other error.

    The arguments are those of `sys.excepthook`. Files that a refused run has made and written nothing to are removed;
    translations that were finished before the refusal stay.
    """
    if issubclass(kind, KeyboardInterrupt):
        return print("fairseq-mh: interrupted", file=sys.stderr)
    line = " ".join(str(error).split())
    if _while_loading(trace) and not isinstance(error, FileNotFoundError | UserError):
        line = unloadable(error)
    elif isinstance(error, AssertionError) and _raised_in(trace) in (generate.__file__, interactive.__file__):
        pass  # fairseq's own refusal, such as of no --path
    elif not isinstance(error, UserError | OSError) and not _is_refused_option(error, trace):
        return sys.__excepthook__(kind, error, trace)
    if _while_loading(trace) or isinstance(error, UserError | FileNotFoundError):
        for path in (*begun, *_results_file(trace)):
            if path.is_file():  # /dev/null is no regular file
                path.unlink()
    print(f"fairseq-mh: error: {line}", file=sys.stderr)


def _frames(trace: TracebackType | None) -> list[FrameType]:
    """Return the frames of a traceback, the one that raised last."""
    return [frame for frame, _ in walk_tb(trace)]


def _while_loading(trace: TracebackType | None) -> bool:
    """Return whether the error was raised while fairseq loaded a checkpoint."""
    return any(frame.f_code.co_filename == checkpoint_utils.__file__ for frame in _frames(trace))


def _raised_in(trace: TracebackType | None) -> str:
    """Return the file of the frame that raised."""
    return _frames(trace)[-1].f_code.co_filename if trace else ""


def _is_refused_option(error: BaseException, trace: TracebackType | None) -> bool:
    """Return whether fairseq, or numpy for a seed, refused the value of an option."""
    refused = _raised_in(trace) in (options.__file__, data_utils.__file__) or str(error).startswith("Seed must be")
    return isinstance(error, ValueError | NotImplementedError) and refused


def _results_file(trace: TracebackType | None) -> list[Path]:
    """Return the file of `--results-path`, if it holds no translation: fairseq opens it at once, and logs into it."""
    frames = (frame for frame in _frames(trace) if frame.f_code.co_filename == generate.__file__)
    paths = (frame.f_locals.get("output_path") for frame in frames)
    return [Path(path) for path in paths if path and not _has_translations(Path(path))]


def _has_translations(path: Path) -> bool:
    """Return whether a file holds an H- line."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return any(line.startswith("H-") for line in file)
