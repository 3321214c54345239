"""Makes fairseq's programs report a mistake in one line, log to their output, and take any name of a file.

fairseq calls its own functions through their modules, so that two of them are replaced here for all of its programs.
"""

import ast
import logging
import os
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Mapping
from traceback import extract_tb
from types import TracebackType
from typing import Any, NoReturn

import fairseq_cli
from fairseq import checkpoint_utils, options, utils
from fairseq.data import data_utils

from fairseq_mh.errors import BAD_SEED, SEEDS, UserError, one_line, refuse, unknown_option, unloadable
from fairseq_mh.files.checkpoints import split_names

TASK = "translation_mh"
# Not imported, because that configures logging.
GENERATE, INTERACTIVE = (os.path.join(fairseq_cli.__path__[0], name) for name in ("generate.py", "interactive.py"))
HYDRA = r"[\s\S]*\bhydra\b"  # Hydra's warnings about its own deprecations, which all name it
parse_as_fairseq, split_as_fairseq = options.parse_args_and_arch, utils.split_paths


def parse_args_and_arch(parser: ArgumentParser, input_args: list[str] | None = None, *others: Any, **settings: Any):
    """Parse a command line as fairseq does; for this plugin's task, any mistake in it is a `UserError`."""
    chosen = ArgumentParser(add_help=False, allow_abbrev=False)
    chosen.add_argument("--task", nargs="?", const=TASK)
    if chosen.parse_known_args(input_args)[0].task != TASK:
        return parse_as_fairseq(parser, input_args, *others, **settings)

    def error(message: str) -> NoReturn:
        raise UserError(unknown_option(message, parser._option_string_actions))

    parser.error = error  # type: ignore[method-assign]
    sys.excepthook = report
    warnings.filterwarnings("ignore", message=HYDRA)
    log_to_output()
    parsed = parse_as_fairseq(parser, input_args, *others, **settings)
    check_values(vars(parsed[0] if isinstance(parsed, tuple) else parsed))
    return parsed


def split_paths(paths: str, separator: str = os.pathsep) -> list[str]:
    """Split a list of paths as fairseq does, and keep existing ones that hold the separator whole."""
    return split_as_fairseq(paths, separator) if "://" in paths else split_names(paths, separator)


options.parse_args_and_arch, utils.split_paths = parse_args_and_arch, split_paths


def log_to_output() -> None:
    """Let `fairseq-generate` write its log lines to its output, as it means to; warnings go to standard error, too.

    It configures logging before it decodes, which has no effect after what ve-fairseq's modules do on their import.
    """
    program = getattr(sys.modules["__main__"], "cli_main", None)
    if program and program.__code__.co_filename == GENERATE:
        logging.root.handlers.clear()
        handler = logging.StreamHandler()
        handler.setLevel(logging.WARNING)
        logging.getLogger("fairseq_mh").addHandler(handler)


def check_values(given: Mapping[str, Any]) -> None:
    """Refuse values of fairseq's options that fairseq accepts here and fails on later.

    Raises:
        UserError: with the first mistake.
    """
    counts = {name: given.get(name) for name in ("batch_size", "max_tokens", "distributed_world_size")}
    below = {f"--{name.replace('_', '-')} must be 1 or more": n is not None and n < 1 for name, n in counts.items()}
    refuse(
        {
            BAD_SEED: given["seed"] not in SEEDS,
            "--num-workers must not be negative": given.get("num_workers", 0) < 0,
            "--path must name a checkpoint": given.get("path") == "",
            **below,
        }
    )
    try:
        overrides = ast.literal_eval(given.get("model_overrides", "{}"))
    except (ValueError, SyntaxError):
        overrides = None
    refuse(
        {"--model-overrides must be a Python dictionary, such as \"{'dropout': 0}\"": not isinstance(overrides, dict)}
    )
    try:
        data_utils.post_process("", given.get("post_process"))
    except NotImplementedError as error:
        raise UserError(f"--post-process: {one_line(error)}") from None


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
    """Tell whether an error is a `UserError`, a file error, or the refusal of an option by fairseq."""
    if isinstance(error, AssertionError):
        return raised_in in (GENERATE, INTERACTIVE)
    if isinstance(error, ValueError | NotImplementedError):
        return raised_in in (options.__file__, data_utils.__file__)
    return isinstance(error, UserError | OSError)
