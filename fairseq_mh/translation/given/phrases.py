"""Phrases that translations must contain (terminology constraints, `--constraints`), and their first places in chains.

Phrases start where the masked model finds them likeliest. Each decoder row reads the target with only its given symbols
unmasked, and yields the conditionals of all masked positions. The phrase and place of highest mean log-probability are
chosen, provided that the other phrases still fit, and the next row sees this phrase. Later, phrases move
(`mcmc/moves/phrases.py`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fairseq.token_generation_constraints import unpack_constraints
from torch import Tensor

from fairseq_mh.errors import SentenceError, UserError
from fairseq_mh.files.output import readable_lines
from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of, query_size, state_logits
from fairseq_mh.mcmc.state import FIRST_PHRASE, FIXED, FREE
from fairseq_mh.translation.given.outline import OPEN, Outline
from fairseq_mh.translation.given.pieces import Pieces

Phrase = list[int]  # symbols of the target's dictionary


def phrases_of(sample: dict, generation: Any) -> list[list[Phrase]]:
    """Return the phrases of each sentence of fairseq's batch.

    Raises:
        UserError: if `--constraints` is given and the batch has no phrases.
    """
    packed = sample.get("constraints")
    if packed is None:
        if generation.constraints:
            raise UserError(
                "--constraints: no phrases are given: fairseq-generate takes --mh-phrases FILE, text has them after "
                "tabs, and Python gives phrases=[...]"
            )
        return [[] for _ in sample["id"]]
    return [[phrase.tolist() for phrase in unpack_constraints(row) if len(phrase)] for row in packed.cpu()]


def read_phrases(path: str, sentences: int) -> list[list[str]]:
    """Read a file with one line of tab-separated phrases for each sentence of a subset.

    Args:
        path: the file.
        sentences: the number of sentences of the subset.

    Raises:
        UserError: if the file cannot be read, or has another number of lines.
    """
    lines = readable_lines(Path(path))
    if len(lines) != sentences:
        raise UserError(
            f"--mh-phrases has {len(lines)} lines, but the subset has {sentences} sentences; it needs one line for each"
        )
    return [line.split("\t") for line in lines]


def encoded(phrases: Sequence[str], pieces: Pieces) -> list[Tensor]:
    """Return the symbols (L,) long of each phrase that has any; an unknown piece becomes the unknown symbol.

    One warning for each phrase names its unknown pieces.

    Raises:
        UserError: if the phrases are not a list of texts.
    """
    texts = isinstance(phrases, Sequence) and not isinstance(phrases, str) and all(isinstance(p, str) for p in phrases)
    if not texts:
        raise UserError(f"the phrases of a text are a list of texts, such as ['menu', 'the']; these are {phrases!r}")
    found = []
    for phrase in filter(str.strip, phrases):
        held = pieces.held(phrase)
        if unknown := pieces.unknown(held):
            pieces.warn_once(phrase, f"the model has no symbols for {phrase!r}: its dictionary lacks {unknown}")
        found.append(torch.tensor([*map(pieces.dictionary.index, held)], device="cpu"))
    return [symbols for symbols in found if len(symbols)]


def outlines_of_phrases(
    phrases: Sequence[Sequence[str]], texts: int, pieces: Pieces, end: Sequence[int]
) -> list[Outline | None]:
    """Return the outline of each text's translation from its phrases.

    Args:
        phrases: the phrases of each text.
        texts, pieces, end: as in `outlines_of_templates`.

    Raises:
        UserError: if the number of lists of phrases is not that of the texts, or as in `encoded`.
    """
    if len(phrases) != texts:
        raise UserError(f"there are {len(phrases)} lists of phrases for {texts} texts; give one list for each text")
    symbols = (encoded(some, pieces) for some in phrases)
    return [Outline([OPEN, *(end if some else [])], [*map(Tensor.tolist, some)]) for some in symbols]


class Placed(NamedTuple):
    """Targets with their phrases.

    Attributes:
        blank: (N, T) long, as in `Start`, with the phrases in their places.
        held: (N, T) long, as in `State`.
        rows: (N,) long, decoder rows spent.
    """

    blank: Tensor
    held: Tensor
    rows: Tensor


def place(
    lm: MaskedLM, blank: Tensor, held: Tensor, context: Tensor, phrases: Sequence[Sequence[Phrase]], ordered: bool
) -> Placed:
    """Put phrases into targets that have room for them.

    Args:
        lm: the model.
        blank: (N, T) long, with the mask at free positions, and padding.
        held: (N, T) long: FREE, or FIXED at positions of other given symbols.
        context: (N,) long, the index of each target's context.
        phrases: the phrases of each target.
        ordered: whether the phrases must stand in the given order.

    Raises:
        SentenceError: if the model's scores are NaN, so that no place can be chosen.
    """
    blank, held, rows = blank.clone(), held.clone(), torch.zeros_like(context)
    left = [dict(enumerate(some)) for some in phrases]
    while unfinished := [n for n, some in enumerate(left) if some]:
        chains = torch.tensor(unfinished, device=blank.device)
        rows[chains] += 1
        log_p = _log_p(lm, blank[chains], held[chains], context[chains], [left[n] for n in unfinished])
        taken = held[chains].masked_fill(blank[chains].eq(lm.pad), FIXED).tolist()
        for n, scores, roles in zip(unfinished, log_p, taken, strict=True):
            number, site = _likeliest(scores, roles, left[n], ordered)
            symbols = left[n].pop(number)
            blank[n, site : site + len(symbols)] = blank.new_tensor(symbols)
            held[n, site : site + len(symbols)] = FIRST_PHRASE + number
    return Placed(blank, held, rows)


def _log_p(
    lm: MaskedLM, blank: Tensor, held: Tensor, context: Tensor, phrases: Sequence[dict[int, Phrase]]
) -> list[dict[int, np.ndarray]]:
    """Return the log-probability of each symbol of each phrase at each position.

    Args:
        lm: the model.
        blank, held, context: as in `place`, for the N targets that have phrases left.
        phrases: the phrases left of each target, by their numbers.

    Returns:
        For each target and number of a phrase of L symbols, (T, L) nats, minus infinity at held positions.
    """
    masked = held.eq(FREE) & blank.ne(lm.pad)
    symbols = [[symbol for phrase in some.values() for symbol in phrase] for some in phrases]
    widest = max(map(len, symbols))
    asked = torch.tensor([[*some, *[0] * (widest - len(some))] for some in symbols], device=blank.device)
    row, site = masked.nonzero(as_tuple=True)
    features = features_of(lm, blank, masked, context)
    parts = zip(features.split(query_size(features)), asked[row].split(query_size(features)), strict=True)
    found = torch.cat([state_logits(lm, part).log_softmax(-1).gather(1, wanted) for part, wanted in parts])
    log_p = found.new_full((*blank.shape, widest), -torch.inf)
    log_p[row, site] = found
    result = []
    for some, scores in zip(phrases, log_p.cpu().numpy(), strict=True):
        ends = np.cumsum([len(phrase) for phrase in some.values()])[:-1]
        cut = np.split(scores[:, : sum(map(len, some.values()))], ends, axis=1)
        result.append(dict(zip(some, cut, strict=True)))
    return result


def _likeliest(
    scores: dict[int, np.ndarray], held: list[int], left: dict[int, Phrase], ordered: bool
) -> tuple[int, int]:
    """Return the phrase and the place of highest mean log-probability among those that leave room for the others.

    Args:
        scores: the log-probabilities of each phrase that is left, as `_log_p` returns them.
        held: the role of each position, as in `State`; 0 is free.
        left: the phrases that are left, by their numbers.
        ordered: whether phrases must stand in the order of their numbers.
    """
    candidates = []
    for number, log_p in scores.items():
        length = log_p.shape[1]
        for site in range(len(held) - length + 1):
            mean = float(np.mean([log_p[site + n, n] for n in range(length)]))
            if not any(held[site : site + length]) and np.isfinite(mean):
                candidates.append((-mean, number, site))
    lengths = {number: len(phrase) for number, phrase in left.items()}
    for _, number, site in sorted(candidates):
        taken = list(held)
        taken[site : site + lengths[number]] = [FIRST_PHRASE + number] * lengths[number]
        others = {other: length for other, length in lengths.items() if other != number}
        if fits(taken, others, ordered):
            return number, site
    raise SentenceError("no place for its phrases: the model's scores are NaN; if --fp16 is given, try without it")


def fits(held: list[int], lengths: dict[int, int], ordered: bool) -> bool:
    """Return whether phrases fit into the free positions.

    The test is exact for ordered phrases. For unordered ones it is greedy, and may return False for a tight fit.

    Args:
        held: the role of each position, as in `State`; only 0 is free.
        lengths: the length of each phrase, by its number.
        ordered: whether all phrases, placed ones included, must stand in the order of their numbers.
    """
    held = list(held)
    standing = [role for role in held if role >= FIRST_PHRASE]
    if ordered and standing != sorted(standing):
        return False
    longest_first = sorted(lengths, key=lambda number: -lengths[number])
    for number in sorted(lengths) if ordered else longest_first:
        length, phrase = lengths[number], FIRST_PHRASE + number
        before = max((i + 1 for i, role in enumerate(held) if FIRST_PHRASE <= role < phrase), default=0)
        sites = (site for site in range(before if ordered else 0, len(held) - length + 1))
        site = next((site for site in sites if not any(held[site : site + length])), None)
        if site is None or (ordered and any(role > phrase for role in held[:site])):
            return False
        held[site : site + length] = [phrase] * length
    return True
