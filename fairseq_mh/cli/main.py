"""The command `fairseq-mh`: it runs the module of a subcommand, and reports mistakes in one line.

A subcommand is a module in this folder with `add_arguments(parser)` and `run(args)`, and a line in `COMMANDS`. Only the
module of the given subcommand is imported. Its `run` may return an exit status. If it sets `TAKES_MORE`, which says
what may follow `--`, the arguments after `--` are in `args.more`.
"""

import argparse
import gc
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import fairseq_mh
from fairseq_mh.cli.parser import Parser
from fairseq_mh.errors import UserError, did_you_mean, one_line

# The packages of each extra (pyproject.toml), by the names of the modules that are imported first.
EXTRAS = {
    "eval": ("arviz_base", "arviz_stats", "polars", "tabulate", "yaml"),
    "report": ("jinja2", "markupsafe", "plotly"),
    "ray": ("ray",),
    "page": ("starlette", "uvicorn"),
    "hf": ("accelerate", "gguf", "transformers"),
}
INTERRUPTED = 130  # the exit status that shells give after SIGINT


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command line, whose first argument is a subcommand; `run` of the result is its function.

    Raises:
        UserError: if the command line cannot be used.
    """
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {text}" for name, text in COMMANDS.items())
    parser = Parser(prog="fairseq-mh", description=fairseq_mh.__doc__, epilog=f"commands:\n{listed}")
    parser.add_argument("--version", action="version", version=f"fairseq-mh {fairseq_mh.__version__}")
    parser.add_argument("command", metavar="COMMAND")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments[:1])
    if given.command not in COMMANDS:
        raise UserError(f"there is no command {given.command}{did_you_mean(given.command, COMMANDS)}")
    module = importlib.import_module(f"fairseq_mh.cli.{given.command.replace('-', '_')}")
    subparser = Parser(prog=f"fairseq-mh {given.command}", description=module.__doc__)
    module.add_arguments(subparser)
    own, more = list(arguments[1:]), list[str]()
    if following := getattr(module, "TAKES_MORE", ""):
        subparser.usage = f"{subparser.format_usage().removeprefix('usage: ').strip()} [-- {following}]"
        at = own.index("--") if "--" in own else len(own)
        own, more = own[:at], own[at + 1 :]
    args = subparser.parse_intermixed_args(own)
    args.more = more
    args.run = module.run
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, and return its exit status, which is 1 for a mistake of the user."""
    importing = uncollected() if arguments is None else nullcontext()  # another program's objects are its own
    arguments = sys.argv[1:] if arguments is None else arguments
    quieten()
    try:
        if not arguments:
            arguments = ["--help"]
        with importing:
            args = parse(arguments)
        status = args.run(args) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader stopped, as `head` does, so nothing more can be printed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UserError as error:
        return failed(f"error: {error}")
    except OSError as error:
        return failed(f"error: {one_line(error)}")
    except KeyboardInterrupt as interrupted:
        failed(f"interrupted{'; ' if str(interrupted) else ''}{interrupted}")
        return INTERRUPTED
    except ModuleNotFoundError as error:
        root = str(error.name).partition(".")[0]
        extra = next((extra for extra, modules in EXTRAS.items() if root in modules), None)
        if not extra:
            raise
        return failed(f"error: this needs {error.name}: pip install 'fairseq-mh[{extra}]'")


@contextmanager
def uncollected() -> Iterator[None]:
    """Leave out garbage collection, and what exists at the end for good: imports make many objects that stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def quieten() -> None:
    """Hide log messages and warnings of fairseq, Hydra and others; call it before they are imported."""
    logging.basicConfig(level=logging.WARNING, format="fairseq-mh: %(message)s")
    logging.getLogger().setLevel(logging.WARNING)
    warnings.simplefilter("ignore")


def failed(message: str) -> int:
    """Print one line to standard error, and return the exit status of a mistake."""
    print(f"fairseq-mh: {' '.join(message.split())}", file=sys.stderr)
    return 1


COMMANDS = {
    "translate": "translate sentences, or lines of standard input",
    "page": "serve a web page that translates sentences and shows the chains",
    "corpus": "translate a corpus with any number of workers",
    "sample": "draw texts from a masked language model, or fill the blanks of a text",
    "rescore": "order n-best lists of any system by an energy",
    "compare": "compare outputs by BLEU and chrF, with significance and cost",
    "diagnose": "check whether the chains of a trace have converged",
    "experiments": "run a grid of decoders and write a table of results",
    "report": "make an HTML page of experiments",
    "pieces": "train a SentencePiece model on parallel texts, and cut them into its pieces",
    "merge": "merge the outputs of fairseq-generate's shards",
    "convert": "convert a checkpoint that Mask-Predict's authors published",
    "evaluate": "measure the likelihood and diversity of sampled texts",
    "rating-sheet": "mix texts of several samplers into a sheet for people to rate",
    "demo": "translate held-out segments in several ways, and compare the results",
    "options": "list the plugin's decoding options",
    "user-dir": "print the folder for fairseq's option --user-dir",
}
