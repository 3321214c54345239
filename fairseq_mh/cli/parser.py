"""The parser of every subcommand: it reports mistakes in one line, and can keep rare options out of `--help`."""

import argparse
import re
import sys
from collections.abc import Callable
from typing import NoReturn

from fairseq_mh.errors import UserError, unknown_option


class Parser(argparse.ArgumentParser):
    """A parser without abbreviations, which reports mistakes in one line with the option that was probably meant."""

    def __init__(self, **settings):
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **settings)
        self.hidden: dict[argparse.Action, str | None] = {}  # an option that only `--help-all` shows -> its help

    def error(self, message: str) -> NoReturn:
        """Raise UserError instead of printing the usage."""
        message = re.sub(r"^argument (\S+): must", r"\1 must", unknown_option(message, self._option_string_actions))
        raise UserError(f"{message} (see {self.prog} --help)")

    def hide(self, action: argparse.Action) -> None:
        """Show an option in `--help-all`, which the first call adds, and not in `--help`."""
        if not self.hidden:
            self.add_argument("--help-all", action=HelpAll, nargs=0, help="show all options and exit")
        self.hidden[action], action.help = action.help, argparse.SUPPRESS


def whole_number(least: int, most: int = sys.maxsize) -> Callable[[str], int]:
    """Return the type of an option that takes a whole number in these bounds, for `add_argument`."""

    def parsed(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError("must be a whole number") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"must be {least} or more")
        if number > most:
            raise argparse.ArgumentTypeError(f"must be at most {most}")
        return number

    return parsed


class HelpAll(argparse.Action):
    """Prints the help with the hidden options."""

    def __call__(self, parser, namespace, values, option_string=None):
        for action, text in parser.hidden.items():
            action.help = text
        parser.print_help()
        parser.exit()
