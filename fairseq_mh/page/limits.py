"""Reads requests and what a model's folder says about the model, and checks their limits."""

import json
import math
import re
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fairseq.dataclass.configs import CommonConfig, GenerationConfig
from torch import Tensor

from fairseq_mh.errors import SEEDS, UserError, not_unicode
from fairseq_mh.loading import arguments_of
from fairseq_mh.translation.options.config import DECODINGS, TranslationMHConfig, chains_of
from fairseq_mh.translation.options.presets import PRESETS

SOURCE = 1000  # characters of a source or a template
TOKENS = 400  # tokens of a translation in a request
BODY = 32768  # bytes of a request
ABOUT = "page.json"  # a file of the model's folder
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
        phrases: the phrases that the translation must contain.
    """

    source: str
    options: dict[str, Any]
    tokens: Tensor
    position: int
    held: list[int]
    template: str
    phrases: list[str]


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
    phrases = _texts(given, "phrases")
    return Wanted(source, _options(given), torch.tensor(tokens, dtype=torch.long), position, held, template, phrases)


def _text(given: dict[str, Any], name: str) -> str:
    text = given.pop(name, "")
    if not isinstance(text, str):
        raise UserError(f"the request is not understood: its {name} is not text")
    if len(text) > SOURCE:
        have = "have" if name.endswith("s") else "has"
        raise UserError(f"the {name} {have} {len(text):,} characters; this page takes at most {SOURCE:,}")
    if reason := not_unicode(text):
        raise UserError(f"the {name} {'are' if name.endswith('s') else 'is'} {reason}")
    return text


def _texts(given: dict[str, Any], name: str) -> list[str]:
    texts = given.pop(name, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"the request is not understood: its {name} are not a list of texts")
    _text({name: "\n".join(texts)}, name)
    return texts


def _whole_numbers(values: Any, most: int) -> bool:
    """Return whether the value is a list of whole numbers of at least 0 and below `most`."""
    return isinstance(values, list) and all(type(value) is int and 0 <= value < most for value in values)


def about_model(folder: Path) -> dict[str, Any]:
    """Return what the page says about a model, from the file `page.json` of its folder, if there is one.

    Returns:
        `field`, the texts that the model knows, as in "This model knows software manuals"; and `examples`, sources.

    Raises:
        UserError: if the file cannot be read, or holds something else.
    """
    path = folder / ABOUT
    if not path.exists():
        return {"field": "", "examples": []}
    try:
        given = _object(path.read_bytes())
        return {"field": _text(given, "field"), "examples": _texts(given, "examples")}
    except (OSError, UserError):
        raise UserError(
            f"{path} must be a JSON object with `field`, a text, and `examples`, a list of texts, each of at most "
            f"{SOURCE:,} characters"
        ) from None


def preset_values(arguments: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the value that each preset gives to each number of `NUMBERS` except `nbest`.

    Args:
        arguments: the options that the page was started with, which override those of presets.
    """
    cfg = TranslationMHConfig()
    defaults = {
        "sweeps": cfg.mh_sweeps,
        "temperature": cfg.mh_temperature,
        "final_temperature": cfg.mh_final_temperature,
        "lengths": GenerationConfig.iter_decode_with_beam,
        "chains": chains_of(cfg),
        "seed": CommonConfig.seed,
    }
    parser = ArgumentParser(allow_abbrev=False, add_help=False)
    for name, value in defaults.items():
        option, _ = arguments_of({NUMBERS[name].option: value})
        parser.add_argument(option, dest=name, type=NUMBERS[name].kind, default=value)
    return {name: vars(parser.parse_known_args([*preset, *arguments])[0]) for name, preset in PRESETS.items()}


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
    """Return the value of an option as a number of the right kind."""
    bounds, title = NUMBERS[name], name.replace("_", " ")
    whole = type(value) is int or (type(value) is float and math.isfinite(value) and value == int(value))
    if type(value) not in (int, float) or (bounds.kind is int and not whole):
        raise UserError(f"{title} must be a {'whole number' if bounds.kind is int else 'number'}")
    if not bounds.least <= value <= bounds.most:
        raise UserError(f"{title} must be from {bounds.least:g} to {bounds.most:.10g} on this page")
    return bounds.kind(value)
