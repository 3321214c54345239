"""What must not be trained on, and how a text that comes close to it is told."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from fairseq_mh.files.output import read_lines
from scripts.parallel_text import Row
from scripts.prepare_data import HELDOUT_WORDS, split_of

NO_LETTERS = re.compile(r"[\W\d_]+")
Pair = tuple[str, str]  # German, English


def near(text: str) -> str:
    """Reduce a text to its letters: what two near-duplicates have in common."""
    return NO_LETTERS.sub("", text.casefold())


class HeldOut:
    """The sides of the held-out pairs, exactly (case folded) and by their letters alone."""

    def __init__(self, pairs: Iterable[Pair]):
        sides = {side for pair in pairs for side in pair}
        self.exact = {" ".join(side.casefold().split()) for side in sides}
        self.near = {near(side) for side in sides} - {""}

    def __len__(self) -> int:
        return len(self.exact)

    def reason(self, pair: Pair) -> str | None:
        """Name what a pair has in common with a held-out one; None where it has nothing."""
        if any(" ".join(side.casefold().split()) in self.exact for side in pair):
            return "a side is held out"
        if any(near(side) in self.near for side in pair):
            return "a side is nearly held out"
        return None


def read_heldout(model: Path, help_rows: Iterable[Row]) -> HeldOut:
    """Read validation and test of a model's folder, and the reserve among the help's rows.

    Paragraphs of the reserve that are too short to be held-out segments ("Example:") hold nothing out.
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


def for_training(
    rows: Iterable[Row], heldout: HeldOut, seen: set[Pair], unfit: Callable[[Pair], str | None]
) -> tuple[list[Pair], Counter]:
    """Choose the pairs that may be trained on, and count the others by what speaks against them.

    `seen`, which grows, holds the pairs that earlier corpora gave; `unfit` names what else is wrong.
    """
    kept: list[Pair] = []
    dropped: Counter = Counter()
    for _, english, german in rows:
        pair = (german, english)
        why = heldout.reason(pair) or ("seen before" if pair in seen else None) or unfit(pair)
        if why:
            dropped[why] += 1
        else:
            seen.add(pair)
            kept.append(pair)
    return kept, dropped
