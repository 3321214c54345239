"""The command `fairseq-mh`: finds the subcommand's module, and ends mistakes in one line.

A subcommand is a module of this folder with `add_arguments(parser)` and `run(args)`, and a line in `COMMANDS`. Only the
module that is asked for is imported. Where the module says `TAKES_MORE = True`, what follows `--` is `args.more`.
"""

import argparse
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

import fairseq_mh
from fairseq_mh.errors import UserError, did_you_mean, unknown_option

# By their first imports, the packages of each extra (pyproject.toml).
EXTRAS = {
    "eval": ("arviz_stats", "polars", "tabulate", "yaml"),
    "report": ("jinja2", "markupsafe", "plotly"),
    "ray": ("ray",),
    "page": ("starlette", "uvicorn"),
    "hf": ("accelerate", "gguf", "transformers"),
}
INTERRUPTED = 130  # as shells say it of SIGINT


class Parser(argparse.ArgumentParser):
    """A parser without abbreviations, whose mistakes are one line that names what was perhaps meant."""

    def __init__(self, **settings):
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise UserError instead of printing the usage."""
        message = unknown_option(message, self._option_string_actions)
        raise UserError(f"{message} ({self.prog} --help lists what there is)")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line of the subcommand that it names; `run` is its function.

    Raises:
        UserError: for a command line that means nothing.
    """
    parser = Parser(prog="fairseq-mh", description=fairseq_mh.__doc__, epilog=_listed())
    parser.add_argument("--version", action="version", version=f"fairseq-mh {fairseq_mh.__version__}")
    parser.add_argument("command", metavar="COMMAND")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments[:1])
    if given.command not in COMMANDS:
        raise UserError(f"there is no command {given.command}{did_you_mean(given.command, COMMANDS)}")
    module = importlib.import_module(f"fairseq_mh.cli.{given.command.replace('-', '_')}")
    own = Parser(prog=f"fairseq-mh {given.command}", description=module.__doc__)
    module.add_arguments(own)
    mine, more = list(arguments[1:]), list[str]()
    if getattr(module, "TAKES_MORE", False):
        own.usage = f"{own.format_usage().removeprefix('usage: ').strip()} [-- OPTIONS OF fairseq-generate]"
        mine, more = _before_and_behind(mine)
    args = own.parse_intermixed_args(mine)
    args.more = more
    args.run = module.run
    return args


def _before_and_behind(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Cut a command line at its first `--`."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:place], arguments[place + 1 :]


def _listed() -> str:
    width = max(map(len, COMMANDS))
    return "commands:\n" + "\n".join(f"  {name:{width}}  {text}" for name, text in COMMANDS.items())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; return its exit status, 1 for a user's mistake."""
    arguments = sys.argv[1:] if arguments is None else arguments
    quieten()
    try:
        if not arguments:
            arguments = ["--help"]
        args = parse(arguments)
        args.run(args)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:  # the reader stopped, as `head` does; nothing more can be said to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (UserError, OSError) as error:
        return failed(f"error: {error}")
    except KeyboardInterrupt as interrupted:
        failed(f"interrupted{'; ' if str(interrupted) else ''}{interrupted}")
        return INTERRUPTED
    except ModuleNotFoundError as error:
        if not (extra := _extra_of(error.name)):
            raise
        return failed(f"error: this needs {error.name}: pip install 'fairseq-mh[{extra}]'")


def quieten() -> None:
    """Leave out what fairseq, Hydra and others tell their own developers; call it before they are imported."""
    logging.basicConfig(level=logging.WARNING, format="fairseq-mh: %(message)s")
    logging.getLogger().setLevel(logging.WARNING)
    warnings.simplefilter("ignore")


def failed(message: str) -> int:
    """Print one line to standard error; return the exit status of a mistake."""
    print(f"fairseq-mh: {' '.join(message.split())}", file=sys.stderr)
    return 1


def _extra_of(module: str | None) -> str | None:
    root = (module or "").split(".")[0]
    return next((extra for extra, modules in EXTRAS.items() if root in modules), None)


COMMANDS = {
    "translate": "translate sentences, or lines of standard input",
    "page": "serve a page to translate on, and to watch the chains",
    "corpus": "translate a corpus with any number of workers, resumably",
    "sample": "draw texts from a masked language model, or fill blanks in one",
    "rescore": "order n-best lists of any system by an energy",
    "compare": "compare outputs by BLEU and chrF, with significance and cost",
    "diagnose": "say whether the chains of a trace have converged",
    "experiments": "run a grid of decoders and write a table of results",
    "report": "make an HTML page of experiments",
    "merge": "put the outputs of fairseq-generate's shards together",
    "convert": "convert a checkpoint that Mask-Predict published",
    "evaluate": "say how likely and how varied sampled texts are",
    "rating-sheet": "mix texts of several samplers into a sheet for people to rate",
    "demo": "translate held-out segments several ways, and compare",
    "options": "list the plugin's decoding options",
    "user-dir": "print the folder to give to fairseq as --user-dir",
}
