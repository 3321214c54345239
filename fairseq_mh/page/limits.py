"""What a request may ask for. Everything else is refused, with one sentence."""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fairseq_mh.errors import UserError
from fairseq_mh.translation.options import DECODINGS
from fairseq_mh.translation.presets import PRESETS

SOURCE = 1000  # characters
TOKENS = 400  # of a translation whose alternatives are asked for
BODY = 32768  # bytes of a request
AT_ONCE = 4  # requests that the model works on; the others are refused


class Number(NamedTuple):
    """An option whose value is a number between two others."""

    option: str  # its name for `Translator`
    kind: type
    least: float
    most: float


NUMBERS = {
    "sweeps": Number("sweeps", int, 0, 100),
    "temperature": Number("temperature", float, 0, 100),
    "final_temperature": Number("final_temperature", float, 0, 100),
    "lengths": Number("iter_decode_with_beam", int, 1, 5),
    "chains": Number("chains", int, 1, 8),
    "seed": Number("seed", int, 0, 2**31 - 1),
    "nbest": Number("nbest", int, 1, 10),
}
CHOICES = {"decoding": [str(choice.value) for choice in DECODINGS], "preset": list(PRESETS)}


class Wanted(NamedTuple):
    """A request that may be carried out."""

    source: str
    options: dict[str, Any]  # by their names for `Translator`
    tokens: Tensor  # (T,) long: of a translation; empty where the request has none
    position: int  # in that translation


def wanted(body: bytes) -> Wanted:
    """Read a request.

    Raises:
        UserError: for a request that is not understood, or asks for more than the page gives.
    """
    given = _object(body)
    source, tokens, position = given.pop("source", ""), given.pop("tokens", []), given.pop("position", 0)
    if not isinstance(source, str) or not isinstance(tokens, list) or type(position) is not int:
        raise UserError("the request is not understood: it has no source, or no translation, of the right kind")
    if len(source) > SOURCE:
        raise UserError(f"the source has {len(source):,} characters; this page takes at most {SOURCE:,}")
    if any(0xD800 <= ord(letter) < 0xE000 for letter in source):
        raise UserError("the source holds half a character (a lone surrogate), which is no text")
    if not source.strip():
        raise UserError("there is nothing to translate: type a sentence")
    if len(tokens) > TOKENS or any(type(token) is not int or not 0 <= token < 2**31 for token in tokens):
        raise UserError(f"a translation here is a list of at most {TOKENS} of the model's words")
    return Wanted(source, _options(given), torch.tensor(tokens, dtype=torch.long), position)


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise UserError("the request is not understood: it is no JSON") from None
    if not isinstance(given, dict):
        raise UserError("the request is not understood: it is no JSON object")
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
    """Return the value as a number of its kind, within its bounds."""
    bounds, title = NUMBERS[name], name.replace("_", " ")
    whole = type(value) is int or (type(value) is float and math.isfinite(value) and value == int(value))
    if type(value) not in (int, float) or (bounds.kind is int and not whole):
        raise UserError(f"{title} must be a {'whole number' if bounds.kind is int else 'number'}")
    if not bounds.least <= value <= bounds.most:
        raise UserError(f"{title} must be from {bounds.least:g} to {bounds.most:.10g} on this page")
    return bounds.kind(value)
