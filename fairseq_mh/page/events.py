"""Decodes for the page, and makes the events that the page receives meanwhile: objects for JSON."""

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from fairseq_mh.corpus.records import fields_of
from fairseq_mh.errors import UserError
from fairseq_mh.files.trace import json_number
from fairseq_mh.masked_lms.dictionaries import GOES_ON, WORD, subwords
from fairseq_mh.page.limits import Wanted
from fairseq_mh.translation.given.outline import FREE, Outline
from fairseq_mh.translation.results import PassRecord, SentenceResult, SweepRecord, Translation
from fairseq_mh.translator import Found, Translator

Event = dict[str, Any]
Piece = tuple[str, bool]  # the text of a piece, and whether it begins a word


def pieces_of(translator: Translator, tokens: Tensor) -> list[Piece]:
    """Return the pieces of a target.

    Args:
        translator: the translator whose dictionary has the tokens.
        tokens: (T,) long.
    """
    dictionary = translator.task.target_dictionary
    symbols, joined = [dictionary[int(token)] for token in tokens], subwords(dictionary)
    if joined == "sentencepiece":
        return [(symbol.removeprefix(WORD) or WORD, symbol.startswith(WORD)) for symbol in symbols]
    begins = [True, *(not symbol.endswith(GOES_ON) for symbol in symbols[:-1])]
    return list(zip([symbol.removesuffix(GOES_ON) for symbol in symbols], begins, strict=True))


def decode(translator: Translator, wanted: Wanted) -> Iterator[Event]:
    """Decode; yield an event for each sweep of each chain and each pass of mask-predict, and then the translations.

    Args:
        translator: the model.
        wanted: the request.

    Raises:
        UserError: if the options contradict each other, or the source cannot be translated.
    """
    started = time.monotonic()
    phrases = [wanted.phrases] if wanted.phrases else None
    template = _given(translator, wanted)
    for event in translator.watch([wanted.source], template=template, phrases=phrases, **wanted.options):
        if isinstance(event, SweepRecord):
            pieces = pieces_of(translator, torch.tensor(event.record["tokens"]))
            yield {"kind": "sweep", "record": event.record, "pieces": pieces}
        elif isinstance(event, PassRecord):
            place = {"id": event.id, "length": event.length, "chain": event.chain}
            pieces = pieces_of(translator, event.tokens)
            yield {"kind": "pass", **place, "pieces": pieces, "masked": event.masked.tolist()}
        elif isinstance(event, Found):
            yield _done(translator, event.result, time.monotonic() - started)


def _done(translator: Translator, result: SentenceResult, seconds: float) -> Event:
    """Return the event of the translations and their cost."""
    if result.untranslated:
        raise UserError(f"the source is not translated: {result.untranslated}")
    tokens = [one.tokens for one in result.translations]
    shares = translator.log_probs(result.source, tokens)
    found = [_translation(translator, *one) for one in zip(result.translations, shares, strict=True)]
    counts = {"rows": result.rows, "symbols": result.symbols, "unknown": result.unknown}
    return {"kind": "done", "translations": found, "seconds": round(seconds, 2), **counts}


def _given(translator: Translator, wanted: Wanted) -> str | Outline | None:
    """Return what is fixed of the translation: an outline with the held tokens, a template, or None."""
    if not wanted.held:
        return wanted.template or None
    translator.generator.scorer.require_state(wanted.tokens)
    held = set(wanted.held)
    return Outline([token if place in held else FREE for place, token in enumerate(wanted.tokens.tolist())])


def alternatives(translator: Translator, wanted: Wanted, count: int) -> Event:
    """Return the alternatives at a position of a translation.

    Args:
        translator: the model.
        wanted: the request, with the translation and the position.
        count: number of alternatives.

    Raises:
        UserError: for the same reasons as `Translator.alternatives`.
    """
    options = {name: value for name, value in wanted.options.items() if name in ("decoding", "preset", "chains")}
    found = translator.alternatives(wanted.source, wanted.tokens, wanted.position, count=count, **options)
    shares = translator.log_probs(wanted.source, [one.tokens for one in found])
    return {
        "alternatives": [
            {
                "token": one.token,
                "piece": pieces_of(translator, one.tokens)[wanted.position],
                "log_prob": json_number(one.log_prob),
                "energy": json_number(one.energy),
                "text": translator.text(one.tokens),
                "pieces": pieces_of(translator, one.tokens),
                "tokens": one.tokens.tolist(),
                "log_probs": _numbers(log_probs),
            }
            for one, log_probs in zip(found, shares, strict=True)
        ]
    }


def _translation(translator: Translator, found: Translation, log_probs: Tensor) -> Event:
    """Return a translation for the page, with the log-probability of each token (T,) given all others."""
    tokens, pieces = found.tokens.tolist(), pieces_of(translator, found.tokens)
    return {**fields_of(found), "tokens": tokens, "pieces": pieces, "log_probs": _numbers(log_probs)}


def _numbers(values: Tensor) -> list[float | None]:
    """Return numbers as JSON can hold them, rounded to five digits."""
    return [json_number(round(value, 5)) for value in values.tolist()]
