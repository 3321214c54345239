"""The plugin's options as a table, for `fairseq-mh options` and for the documentation."""

from dataclasses import fields
from enum import Enum
from typing import NamedTuple, get_args

from fairseq_mh.translation.options.config import TranslationMHConfig


class OptionRow(NamedTuple):
    """One option of the command line.

    Attributes:
        name: the option as a user writes it, such as `--mh-sweeps`.
        default: the default value, or what it depends on; empty if there is none.
        help: the help text, without the default.
        choices: the allowed values; empty if any value of the option's type is allowed.
        flag: whether the option takes no value.
    """

    name: str
    default: str
    help: str
    choices: tuple[str, ...]
    flag: bool


def option_table() -> list[OptionRow]:
    """Return the plugin's options, in the order in which `TranslationMHConfig` has them."""
    return [_row(field) for field in fields(TranslationMHConfig) if field.name.startswith("mh_")]


def _row(field) -> OptionRow:
    kinds = [field.type, *get_args(field.type)]
    choices = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Enum)), None)
    flag = field.type is bool
    text, _, stated = field.metadata["help"].partition(". Default: ")
    return OptionRow(
        name=f"--{field.name.replace('_', '-')}",
        default=stated or ("" if flag or field.default is None else str(field.default)),
        help=text,
        choices=tuple(str(choice.value) for choice in choices) if choices else (),
        flag=flag,
    )
