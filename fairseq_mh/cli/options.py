"""List the plugin's decoding options, with their defaults.

fairseq-mh options
"""

import shutil
import textwrap
from argparse import ArgumentParser, Namespace

from fairseq_mh.translation.options.table import OptionRow, option_table


def add_arguments(parser: ArgumentParser) -> None:
    pass


def run(args: Namespace) -> None:
    width = min(shutil.get_terminal_size((120, 24)).columns, 120)
    print("\n".join(described(row, width) for row in option_table()))


def described(row: OptionRow, width: int) -> str:
    """Return an option with its choices, default and help, in lines of at most `width` characters."""
    value = "" if row.flag else f" {{{','.join(row.choices)}}}" if row.choices else " X"
    default = f" (default: {row.default})" if row.default else ""
    text = textwrap.fill(row.help, width, initial_indent="    ", subsequent_indent="    ")
    return f"{row.name}{value}{default}\n{text}"
