"""The plugin's options as a table, for `fairseq-mh options` and for the documentation."""

from dataclasses import fields
from enum import Enum
from typing import NamedTuple, get_args

from fairseq_mh.translation.options.config import TranslationMHConfig

PREFIX = "mh_"


class OptionRow(NamedTuple):
    """One option of the command line."""

    name: str  # as it is written: --mh-sweeps
    default: str  # empty where there is none
    help: str
    choices: tuple[str, ...]  # empty where any value of its kind is allowed
    flag: bool  # whether it stands without a value


def option_table() -> list[OptionRow]:
    """Return the plugin's options, in the order in which `TranslationMHConfig` has them."""
    return [_row(field) for field in fields(TranslationMHConfig) if field.name.startswith(PREFIX)]


def _row(field) -> OptionRow:
    kinds = [field.type, *get_args(field.type)]
    choices = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Enum)), None)
    flag = field.type is bool
    return OptionRow(
        name=f"--{field.name.replace('_', '-')}",
        default="" if flag or field.default is None else str(field.default),
        help=field.metadata["help"],
        choices=tuple(str(choice.value) for choice in choices) if choices else (),
        flag=flag,
    )
