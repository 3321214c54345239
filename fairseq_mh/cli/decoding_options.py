"""The decoding options of commands that translate: some options of fairseq, and every `--mh-*`."""

from argparse import SUPPRESS, ArgumentParser, Namespace

from fairseq_mh.loading import FAIRSEQ_FLAGS, FAIRSEQ_OPTIONS
from fairseq_mh.translation.options.table import OptionRow, option_table


def add_decoding_options(parser: ArgumentParser) -> None:
    """Add the options; a command with `TAKES_MORE` also takes other options of fairseq-generate, after `--`."""
    fairseq_group = parser.add_argument_group("fairseq's options")
    for name, text in FAIRSEQ_OPTIONS.items():
        fairseq_group.add_argument(f"--{name}", default=SUPPRESS, metavar="X", help=text)
    for name, text in FAIRSEQ_FLAGS.items():
        fairseq_group.add_argument(f"--{name}", default=SUPPRESS, action="store_true", help=text)
    sampler_group = parser.add_argument_group("the sampler's options")
    for row in option_table():
        _add(sampler_group, row)


def _add(group, row: OptionRow) -> None:
    text = row.help.replace("%", "%%") + (f"; default: {row.default}" if row.default else "")
    if row.flag:
        group.add_argument(row.name, default=SUPPRESS, action="store_true", help=text)
    else:
        # fairseq's parser checks the value, so that the error message is the same in all commands
        metavar = "{" + ",".join(row.choices) + "}" if row.choices else "X"
        group.add_argument(row.name, default=SUPPRESS, metavar=metavar, help=text)


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
