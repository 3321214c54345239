"""Phrases that translations must hold (`--constraints`): what the user gave, and where chains begin with them.

They begin where the masked model finds them likeliest. One row of the target, in which only what is given is known, has
the conditionals of all its masked positions; the phrase and place of highest mean log-probability is taken, if the
others still fit, and the next row sees it. After that, phrases move (`mcmc/phrases.py`).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fairseq.data import Dictionary
from fairseq.token_generation_constraints import unpack_constraints
from torch import Tensor

from fairseq_mh.errors import SentenceError, UserError, one_line
from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of, query_size, state_logits
from fairseq_mh.mcmc.state import FIRST_PHRASE, FIXED, FREE
from fairseq_mh.translation.given.outline import OPEN, Outline

Phrase = list[int]  # symbols of the target's dictionary


def phrases_of(sample: dict, generation: Any) -> list[list[Phrase]]:
    """Return the phrases of each sentence of fairseq's batch.

    Raises:
        UserError: where the options ask for phrases, and the batch does not say which.
    """
    packed = sample.get("constraints")
    if packed is None:
        if generation.constraints:
            raise UserError("--constraints: fairseq-generate reads phrases from --mh-phrases FILE, a line a sentence")
        return [[] for _ in sample["id"]]
    return [[phrase.tolist() for phrase in unpack_constraints(row) if len(phrase)] for row in packed.cpu()]


def read_phrases(path: str, sentences: int) -> list[list[str]]:
    """Read the phrases of each sentence of a subset, from lines with tabs between them.

    Raises:
        UserError: where the file cannot be read, or has not a line for each sentence.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--mh-phrases cannot be read: {one_line(error)}") from None
    if len(lines) != sentences:
        raise UserError(f"--mh-phrases has {len(lines)} lines, and the subset {sentences} sentences")
    return [line.split("\t") for line in lines]


def split_phrases(line: str) -> tuple[str, list[str]]:
    """Return a source and the phrases of its translation from a line with tabs between them, as fairseq reads it."""
    source, *phrases = line.split("\t")
    return source, phrases


def encoded(phrases: Sequence[str], cut: Callable[[str], str], dictionary: Dictionary) -> list[Tensor]:
    """Return the symbols (L,) long of phrases that are not empty; an unknown piece is the unknown symbol.

    Args:
        cut: from text to pieces with spaces between.
    """
    lines = (cut(phrase.strip()) for phrase in phrases if phrase.strip())
    return [dictionary.encode_line(line, append_eos=False, add_if_not_exist=False).long() for line in lines]


def outlines_of_phrases(
    phrases: Sequence[Sequence[str]], texts: int, task: Any, end: Sequence[int]
) -> list[Outline | None]:
    """Return what phrases give of each text's translation; the arguments are as of `outlines_of_templates`.

    Raises:
        UserError: for phrases of another number of texts, and for words that the model has no pieces for.
    """
    if len(phrases) != texts:
        raise UserError("phrases are given for each text, and without a template")
    found = (encoded(mine, task.cut, task.target_dictionary) for mine in phrases)
    return [Outline([OPEN, *(end if mine else [])], [*map(Tensor.tolist, mine)]) for mine in found]


class Placed(NamedTuple):
    """Targets with their phrases."""

    blank: Tensor  # (N, T) long: as in `Start`, with the phrases
    held: Tensor  # (N, T) long: as of `State`
    rows: Tensor  # (N,) long: decoder rows spent


def place(
    lm: MaskedLM, blank: Tensor, held: Tensor, context: Tensor, phrases: Sequence[Sequence[Phrase]], ordered: bool
) -> Placed:
    """Put phrases into targets that have room for them.

    Args:
        lm: the model.
        blank: (N, T) long, with the mask at free positions, and padding.
        held: (N, T) long: FREE, and FIXED where something else is given.
        context: (N,) long, of each target.
        phrases: of each target.
        ordered: whether they stand in the order in which they are given.

    Raises:
        SentenceError: where the model has no numbers for it.
    """
    blank, held, rows = blank.clone(), held.clone(), torch.zeros_like(context)
    left = [dict(enumerate(mine)) for mine in phrases]
    while which := [n for n, mine in enumerate(left) if mine]:
        chains = torch.tensor(which, device=blank.device)
        rows[chains] += 1
        log_p = _log_p(lm, blank[chains], held[chains], context[chains], [left[n] for n in which])
        taken = held[chains].masked_fill(blank[chains].eq(lm.pad), FIXED).tolist()
        for n, scores, mine in zip(which, log_p, taken, strict=True):
            number, site = _likeliest(scores, mine, left[n], ordered)
            symbols = left[n].pop(number)
            blank[n, site : site + len(symbols)] = blank.new_tensor(symbols)
            held[n, site : site + len(symbols)] = FIRST_PHRASE + number
    return Placed(blank, held, rows)


def _log_p(
    lm: MaskedLM, blank: Tensor, held: Tensor, context: Tensor, phrases: Sequence[dict[int, Phrase]]
) -> list[dict[int, np.ndarray]]:
    """Return log p of each symbol of each phrase at each position: (T, L) nats, minus infinity at held positions."""
    masked = held.eq(FREE) & blank.ne(lm.pad)
    symbols = [[symbol for phrase in mine.values() for symbol in phrase] for mine in phrases]
    widest = max(map(len, symbols))
    asked = torch.tensor([[*mine, *[0] * (widest - len(mine))] for mine in symbols], device=blank.device)
    row, site = masked.nonzero(as_tuple=True)
    features = features_of(lm, blank, masked, context)
    parts = zip(features.split(query_size(features)), asked[row].split(query_size(features)), strict=True)
    found = torch.cat([state_logits(lm, part).log_softmax(-1).gather(1, wanted) for part, wanted in parts])
    log_p = found.new_full((*blank.shape, widest), -torch.inf)
    log_p[row, site] = found
    result = []
    for mine, scores in zip(phrases, log_p.cpu().numpy(), strict=True):
        ends = np.cumsum([len(phrase) for phrase in mine.values()])[:-1]
        cut = np.split(scores[:, : sum(map(len, mine.values()))], ends, axis=1)
        result.append(dict(zip(mine, cut, strict=True)))
    return result


def _likeliest(
    scores: dict[int, np.ndarray], held: list[int], left: dict[int, Phrase], ordered: bool
) -> tuple[int, int]:
    """Return the phrase and the place of highest mean log-probability that leave room for the others."""
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
    raise SentenceError("no place for its phrases: the model's scores are no numbers (NaN); with --fp16, try without")


def fits(held: list[int], lengths: dict[int, int], ordered: bool) -> bool:
    """Return whether phrases find room among the free positions; False at times where they just do, unless ordered.

    Args:
        held: what stands at each position, as of `State`; anything but 0 is taken.
        lengths: by the number of each phrase.
        ordered: whether they, and those that stand there, must be in the order of their numbers.
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
