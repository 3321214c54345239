"""What the page is told of a decoding while it goes on, and when it is over: objects for JSON."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fairseq_mh.errors import UserError
from fairseq_mh.files.trace import json_number
from fairseq_mh.masked_lms.dictionaries import subwords
from fairseq_mh.masked_lms.sentence_pieces import WORD
from fairseq_mh.page.limits import Wanted
from fairseq_mh.translation.alternatives import check_state
from fairseq_mh.translation.given.outline import FREE, Outline
from fairseq_mh.translation.results import Translation
from fairseq_mh.translator import Translator

Event = dict[str, Any]
Piece = tuple[str, bool]  # its text, and whether a word begins with it
Send = Callable[[Event | None], object]  # None says that nothing happened: it only raises where nobody listens
GOES_ON = "@@"  # subword-nmt's mark of a piece that the next one continues


def pieces_of(translator: Translator, tokens: Tensor) -> list[Piece]:
    """Return the texts of a target's tokens (T,) long, and where words begin."""
    dictionary = translator.task.target_dictionary
    symbols, joined = [dictionary[int(token)] for token in tokens], subwords(dictionary)
    if joined == "sentencepiece":
        return [(symbol.removeprefix(WORD) or WORD, symbol.startswith(WORD)) for symbol in symbols]
    begins = [True, *(not symbol.endswith(GOES_ON) for symbol in symbols[:-1])]
    return list(zip([symbol.removesuffix(GOES_ON) for symbol in symbols], begins, strict=True))


def decode(translator: Translator, wanted: Wanted, send: Send) -> None:
    """Decode, and tell the page of every sweep of every chain, of mask-predict's passes, and then of what was found.

    Raises:
        UserError: for options that mean nothing, and for a source that cannot be translated.
    """
    begun, energies = time.monotonic(), dict[tuple[int, int], float | None]()

    def show(record: Event, log_probs: Tensor) -> None:
        energies[record["length"], record["chain"]] = record["energy"]
        pieces = pieces_of(translator, torch.tensor(record["tokens"]))
        send({"kind": "sweep", "record": record, "pieces": pieces, "log_probs": _numbers(log_probs)})

    def show_filled(place: dict[str, int], tokens: Tensor, masked: Tensor) -> None:
        send({"kind": "pass", **place, "pieces": pieces_of(translator, tokens), "masked": masked.tolist()})

    template = _given(translator, wanted)
    (result,) = translator.decode(
        [wanted.source],
        observer=show,
        fill_observer=show_filled,
        progress=lambda *_: send(None),
        template=template,
        trace=False,
        **wanted.options,
    )
    if result.untranslated:
        raise UserError(f"the source is not translated: {result.untranslated}")
    found = [_translation(translator, one, energies) for one in result.translations]
    counts = {"rows": result.rows, "symbols": result.symbols, "unknown": result.unknown}
    send({"kind": "done", "translations": found, "seconds": round(time.monotonic() - begun, 2), **counts})


def _given(translator: Translator, wanted: Wanted) -> str | Outline | None:
    """Return what is given of the translation: the held tokens of another one, or a template."""
    if not wanted.held:
        return wanted.template or None
    check_state(translator.generator.cmlm, wanted.tokens)
    held = set(wanted.held)
    return Outline([token if place in held else FREE for place, token in enumerate(wanted.tokens.tolist())])


def alternatives(translator: Translator, wanted: Wanted, count: int) -> Event:
    """Return what else could stand at a position of a translation.

    Raises:
        UserError: as `Translator.alternatives`.
    """
    options = {name: value for name, value in wanted.options.items() if name in ("decoding", "preset", "chains")}
    found = translator.alternatives(wanted.source, wanted.tokens, wanted.position, count=count, **options)
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
                "log_probs": _numbers(one.token_log_probs),
            }
            for one in found
        ]
    }


def _translation(translator: Translator, found: Translation, energies: dict[tuple[int, int], float | None]) -> Event:
    """Return a translation; mask-predict's, which it does not evaluate itself, has the energy of its chain's end."""
    energy = json_number(found.energy)
    return {
        "text": found.text,
        "tokens": found.tokens.tolist(),
        "pieces": pieces_of(translator, found.tokens),
        "log_probs": _numbers(found.token_log_probs),
        "energy": energies.get((found.length, found.chain)) if energy is None else energy,
        "score": json_number(found.score),
        "length": found.length,
        "chain": found.chain,
        "sweep": found.sweep,
    }


def _numbers(values: Tensor) -> list[float | None]:
    return [json_number(round(value, 5)) for value in values.tolist()]
