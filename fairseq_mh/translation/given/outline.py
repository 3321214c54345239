"""What is known of a target before it is decoded: tokens that no move draws again, and blanks between them.

`Click {2} to {}.` holds two tokens at an open place: `{n}` is a blank of n tokens, and `{}` an open blank, of as many
as the target's length leaves. A prefix is tokens and an open blank.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary
from torch import Tensor

from fairseq_mh.errors import SentenceError, UserError
from fairseq_mh.masked_lms.dictionaries import WORD
from fairseq_mh.template import BLANK

FREE = -1  # a position to be drawn
OPEN = -2  # an open blank


class Outline:
    """The tokens and blanks of a target, from left to right.

    Args:
        parts: symbols of the target's dictionary, FREE and OPEN.
        phrases: that stand somewhere in the open blanks; symbols, too.
    """

    def __init__(self, parts: Sequence[int] = (OPEN,), phrases: Sequence[Sequence[int]] = ()):
        self.parts, self.phrases = list(parts), [list(phrase) for phrase in phrases]
        self.open = self.parts.count(OPEN)
        self.fewest = len(self.parts) - self.open + sum(map(len, self.phrases))  # tokens of a target

    def check(self, allowed: Tensor) -> None:
        """Raise SentenceError where it holds a symbol outside the state space `allowed` (V,) bool."""
        given = [part for part in self.parts if part not in (FREE, OPEN)]
        given += [symbol for phrase in self.phrases for symbol in phrase]
        if any(not 0 <= symbol < len(allowed) or not allowed[symbol] for symbol in given):
            raise SentenceError("what is given holds symbols that no translation does")

    def possible(self, log_p: Tensor) -> Tensor:
        """Return the log-probabilities (L,) of lengths, minus infinity at those that no such target has.

        Raises:
            SentenceError: where it has no length.
        """
        if self.fewest >= len(log_p) or not (self.fewest or self.open):
            raise SentenceError(
                f"what is given has {self.fewest} tokens; the model's targets hold 1 to {len(log_p) - 1}"
            )
        lengths = torch.arange(len(log_p), device=log_p.device)
        if self.open:
            return log_p.masked_fill(lengths < max(self.fewest, 1), -torch.inf)
        return torch.full_like(log_p, -torch.inf).masked_fill(lengths == self.fewest, 0)

    def of_length(self, length: int, stream: np.random.Generator) -> list[int]:
        """Return a target's tokens, FREE at its blanks; the stream shares the rest of the length among open blanks."""
        rest = length - (len(self.parts) - self.open)
        shares = stream.multinomial(rest, [1 / self.open] * self.open).tolist() if self.open > 1 else [rest]
        found: list[int] = []
        for part in self.parts:
            found += [FREE] * shares.pop(0) if part == OPEN else [part]
        return found


Template = str | Outline


def prefix(tokens: Tensor) -> Outline:
    """Return the outline of targets that begin with these tokens (P,) long."""
    return Outline([*tokens.tolist(), OPEN])


def whole(tokens: Tensor) -> Outline:
    """Return the outline of this target (T,) long alone."""
    return Outline(tokens.tolist())


def outline_of(template: str, cut: Callable[[str], str], dictionary: Dictionary) -> Outline:
    """Read a template.

    Args:
        template: text with blanks.
        cut: from text to pieces with spaces between.
        dictionary: of the pieces.

    Raises:
        UserError: for text that the dictionary has no pieces for.
    """
    parts: list[int] = []
    for number, text in enumerate(BLANK.split(template)):
        if number % 2:
            parts += [FREE] * int(text) if text else [OPEN]
        elif text.strip():
            parts += _pieces(text, bool(parts) and not text[0].isspace(), cut, dictionary)
    return Outline(parts)


def _pieces(text: str, joined: bool, cut: Callable[[str], str], dictionary: Dictionary) -> list[int]:
    """Return the symbols of a text, which may be joined to what stands before it."""
    pieces = cut(text.strip()).split()
    if joined and pieces and pieces[0].startswith(WORD):
        first = pieces[0].removeprefix(WORD)
        pieces[:1] = [first] if first in dictionary else list(first)
    if unknown := [piece for piece in pieces if piece not in dictionary]:
        raise UserError(f"the model has no symbols for {text.strip()!r} ({' '.join(unknown)})")
    return [dictionary.index(piece) for piece in pieces]


def outlines_of_templates(
    template: Template | Sequence[Template] | None, texts: int, task: Any, end: Sequence[int]
) -> list[Outline | None]:
    """Return what a template, or one for each text, gives of the texts' translations.

    Args:
        template: words with blanks, as of `outline_of`, or an outline by tokens; None gives nothing.
        texts: how many there are.
        task: fairseq's, with the targets' dictionary, and with what cuts text into pieces.
        end: the symbols that end every target of words.

    Raises:
        UserError: for another number of templates, and for words that the model has no pieces for.
    """
    if template is None:
        return [None] * texts
    templates = [template] * texts if isinstance(template, str | Outline) else template
    if len(templates) != texts:
        raise UserError(f"there are {len(templates)} templates for {texts} texts: one for each, or one for all")
    return [
        one if isinstance(one, Outline) else Outline([*outline_of(one, task.cut, task.target_dictionary).parts, *end])
        for one in templates
    ]
