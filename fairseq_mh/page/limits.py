"""Reads requests and checks their limits. A request beyond them is refused with one sentence."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fairseq_mh.errors import SEEDS, UserError, not_unicode
from fairseq_mh.translation.options.config import DECODINGS
from fairseq_mh.translation.options.presets import PRESETS

SOURCE = 1000  # characters of a source or a template
TOKENS = 400  # tokens of a translation in a request
BODY = 32768  # bytes of a request
AT_ONCE = 4  # requests that the model works on at the same time; further requests are refused


class Number(NamedTuple):
    """An option whose value is a number between two bounds.

    Attributes:
        option: the name of the option in `Translator`.
        kind: `int` or `float`.
        least: the lower bound, which is allowed.
        most: the upper bound, which is allowed.
    """

    option: str
    kind: type
    least: float
    most: float


NUMBERS = {
    "sweeps": Number("sweeps", int, 0, 100),
    "temperature": Number("temperature", float, 0, 100),
    "final_temperature": Number("final_temperature", float, 0, 100),
    "lengths": Number("iter_decode_with_beam", int, 1, 5),
    "chains": Number("chains", int, 1, 8),
    "seed": Number("seed", int, SEEDS[0], SEEDS[-1]),
    "nbest": Number("nbest", int, 1, 10),
}
CHOICES = {"decoding": [str(choice.value) for choice in DECODINGS], "preset": list(PRESETS)}


class Wanted(NamedTuple):
    """A request whose limits have been checked.

    Attributes:
        source: the sentence to translate.
        options: keyword arguments of `Translator`.
        tokens: (T,) long, the tokens of a translation; empty if the request has none.
        position: the position of that translation whose alternatives are requested.
        held: the positions of that translation that must not change.
        template: the template of the translation, as `Translator` takes it; may be empty.
    """

    source: str
    options: dict[str, Any]
    tokens: Tensor
    position: int
    held: list[int]
    template: str


def wanted(body: bytes) -> Wanted:
    """Read a request.

    Raises:
        UserError: if the request cannot be understood, or exceeds a limit.
    """
    given = _object(body)
    source, template = _text(given, "source"), _text(given, "template")
    if not source.strip():
        raise UserError("there is nothing to translate: type a sentence")
    if sum(map(int, re.findall(r"\{(\d+)\}", template))) > TOKENS:
        raise UserError(f"the template has blanks of more than {TOKENS} tokens in total")
    tokens, position = given.pop("tokens", []), given.pop("position", 0)
    if not _whole_numbers(tokens, 2**31) or len(tokens) > TOKENS or type(position) is not int:
        raise UserError(f"a translation must be a list of at most {TOKENS} token numbers, and a position a number")
    held = given.pop("held", [])
    if not _whole_numbers(held, len(tokens)):
        raise UserError("the held positions must be positions of the translation")
    return Wanted(source, _options(given), torch.tensor(tokens, dtype=torch.long), position, held, template)


def _text(given: dict[str, Any], name: str) -> str:
    text = given.pop(name, "")
    if not isinstance(text, str):
        raise UserError(f"the request is not understood: its {name} is not text")
    if len(text) > SOURCE:
        raise UserError(f"the {name} has {len(text):,} characters; this page takes at most {SOURCE:,}")
    if reason := not_unicode(text):
        raise UserError(f"the {name} is {reason}")
    return text


def _whole_numbers(values: Any, most: int) -> bool:
    """Return whether the value is a list of whole numbers of at least 0 and below `most`."""
    return isinstance(values, list) and all(type(value) is int and 0 <= value < most for value in values)


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise UserError("the request is not understood: it is not JSON") from None
    if not isinstance(given, dict):
        raise UserError("the request is not understood: it is not a JSON object")
    return given


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in given.items():
        if name in CHOICES:
            if value not in CHOICES[name]:
                raise UserError(f"{name} must be one of {', '.join(CHOICES[name])}")
            options[name] = value
        elif name in NUMBERS:
            options[NUMBERS[name].option] = _number(name, value)
        else:
            raise UserError(f"this page has no setting {name[:40]}")
    return options


def _number(name: str, value: Any) -> float:
    """Return the value of an option as a number of the right kind.

    Raises:
        UserError: if the value is not such a number, or is out of bounds.
    """
    bounds, title = NUMBERS[name], name.replace("_", " ")
    whole = type(value) is int or (type(value) is float and math.isfinite(value) and value == int(value))
    if type(value) not in (int, float) or (bounds.kind is int and not whole):
        raise UserError(f"{title} must be a {'whole number' if bounds.kind is int else 'number'}")
    if not bounds.least <= value <= bounds.most:
        raise UserError(f"{title} must be from {bounds.least:g} to {bounds.most:.10g} on this page")
    return bounds.kind(value)
