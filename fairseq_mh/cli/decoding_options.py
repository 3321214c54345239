"""The decoding options of commands that translate: some options of fairseq, and every `--mh-*`."""

from argparse import SUPPRESS, Namespace
from dataclasses import fields

from fairseq_mh.cli.parser import Parser
from fairseq_mh.loading import FAIRSEQ_FLAGS, FAIRSEQ_OPTIONS
from fairseq_mh.sampler_config import SamplerConfig
from fairseq_mh.translation.options.table import OptionRow, option_table

# What `--help` shows.
EVERYDAY = (
    "--mh-preset",
    "--mh-energy",
    "--mh-decoding",
    "--path",
    "--nbest",
    "--seed",
    "--iter-decode-with-beam",
    "--constraints",
    "--batch-size",
    "--cpu",
    "--bf16",
)


def add_decoding_options(parser: Parser) -> None:
    """Add the options; a command with `TAKES_MORE` also takes other options of fairseq-generate, after `--`.

    `--help` shows those that most users need, and `--help-all` shows all.
    """
    everyday = parser.add_argument_group("decoding options")
    moves = parser.add_argument_group("chains: moves and temperatures")
    choices = parser.add_argument_group("chains: starts, lengths and the choice of a translation")
    others = parser.add_argument_group("further options of fairseq")
    shared = {f"--{field.name.replace('_', '-')}" for field in fields(SamplerConfig)}

    def add(group, name: str, text: str, **kind) -> None:
        action = (everyday if name in EVERYDAY else group).add_argument(name, default=SUPPRESS, help=text, **kind)
        if name not in EVERYDAY:
            parser.hide(action)

    for row in sorted(option_table(), key=_place):
        text = row.help.replace("%", "%%") + (f"; default: {row.default}" if row.default else "")
        # fairseq's parser checks the value, so that the error message is the same in all commands
        metavar = "{" + ",".join(row.choices) + "}" if row.choices else "X"
        kind = {"action": "store_true"} if row.flag else {"metavar": metavar}
        add(moves if row.name in shared else choices, row.name, text, **kind)
    for name, text in FAIRSEQ_OPTIONS.items():
        add(others, f"--{name}", text, metavar="X")
    for name, text in FAIRSEQ_FLAGS.items():
        add(others, f"--{name}", text, action="store_true")


def _place(row: OptionRow) -> int:
    """Return the place of an option in the help: everyday options come first, in their order."""
    return EVERYDAY.index(row.name) if row.name in EVERYDAY else len(EVERYDAY)


def decoding_arguments(args: Namespace) -> list[str]:
    """Return the given options as arguments of fairseq-generate."""
    given = vars(args)
    names = [*(f"--{name}" for name in (*FAIRSEQ_OPTIONS, *FAIRSEQ_FLAGS)), *(row.name for row in option_table())]
    arguments: list[str] = []
    for option in names:
        value = given.get(option[2:].replace("-", "_"))
        if value is not None:
            arguments += [option] if value is True else [option, value]
    return [*arguments, *args.more]
