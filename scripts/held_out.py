"""Segments that are held out of training, and detection of text that nearly equals them."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from fairseq_mh.files.output import read_lines
from scripts.parallel_text import Row
from scripts.prepare_data import HELDOUT_WORDS, Pair, split_of

NO_LETTERS = re.compile(r"[\W\d_]+")


def letters_only(text: str) -> str:
    """Reduce a text to its case-folded letters, which near-duplicates have in common."""
    return NO_LETTERS.sub("", text.casefold())


class HeldOut:
    """The sides of the held-out pairs, as case-folded text and as only their letters."""

    def __init__(self, pairs: Iterable[Pair]):
        sides = {side for pair in pairs for side in pair}
        self.exact = {" ".join(side.casefold().split()) for side in sides}
        self.letters = {letters_only(side) for side in sides} - {""}

    def __len__(self) -> int:
        return len(self.exact)

    def reason(self, pair: Pair) -> str | None:
        """Return the reason why a pair must be held out, too, or None if there is none."""
        if any(" ".join(side.casefold().split()) in self.exact for side in pair):
            return "a side is held out"
        if any(letters_only(side) in self.letters for side in pair):
            return "a side is nearly held out"
        return None


def read_heldout(model: Path, help_rows: Iterable[Row]) -> HeldOut:
    """Read the validation and test sets in a model's folder, and the reserve in the help's rows.

    Short paragraphs of the reserve, such as "Example:", are not held out.
    """
    pairs: list[Pair] = []
    for name in ("valid", "test"):
        sides = (read_lines(model / f"{name}.{language}") for language in ("de", "en"))
        pairs += zip(*sides, strict=True)
    shortest = HELDOUT_WORDS.start
    for page, english, german in help_rows:
        if split_of(page) is None and min(len(side.split()) for side in (english, german)) >= shortest:
            pairs.append((german, english))
    return HeldOut(pairs)


def training_pages(rows: Iterable[Row]) -> list[Row]:
    """Keep the rows of help pages that belong to training."""
    return [row for row in rows if split_of(row[0]) == "train"]


def select_training_pairs(
    rows: Iterable[Row], heldout: HeldOut, seen: set[Pair], fault_of: Callable[[Pair], str | None]
) -> tuple[list[Pair], Counter]:
    """Select the pairs for training, and count the dropped pairs by reason.

    Args:
        rows: the rows of a corpus.
        heldout: the held-out segments.
        seen: the pairs of earlier corpora; the selected pairs are added to it.
        fault_of: a function that names another fault of a pair, or returns None.

    Returns:
        The selected pairs, and reason -> number of dropped pairs.
    """
    kept: list[Pair] = []
    dropped: Counter = Counter()
    for _, english, german in rows:
        pair = (german, english)
        reason = heldout.reason(pair) or ("seen before" if pair in seen else None) or fault_of(pair)
        if reason:
            dropped[reason] += 1
        else:
            seen.add(pair)
            kept.append(pair)
    return kept, dropped
