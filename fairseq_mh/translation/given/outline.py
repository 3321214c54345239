"""Outlines: the given tokens of a target, which no move redraws, and the blanks between them.

A template such as `Click {2} to {}.` is text with blanks: `{n}` is a blank of n tokens, and `{}` an open blank, which
takes as many tokens as the target's length leaves. A prefix is an outline of tokens and an open blank.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.errors import SentenceError, UserError
from fairseq_mh.template import BLANK, check_template
from fairseq_mh.translation.given.pieces import Pieces

FREE = -1  # the part that stands for a free position
OPEN = -2  # the part that stands for an open blank


class Outline:
    """The tokens and blanks of a target, from left to right.

    Args:
        parts: symbols of the target's dictionary, FREE and OPEN.
        phrases: phrases of symbols that stand anywhere in the open blanks.

    Raises:
        UserError: if there are phrases, but no open blank.
    """

    def __init__(self, parts: Sequence[int] = (OPEN,), phrases: Sequence[Sequence[int]] = ()):
        self.parts, self.phrases = list(parts), [list(phrase) for phrase in phrases if len(phrase)]
        self.open = self.parts.count(OPEN)
        if self.phrases and not self.open:
            raise UserError("phrases need an open blank, in which they can stand")
        self.fewest = len(self.parts) - self.open + sum(map(len, self.phrases))  # the fewest tokens of a target

    def check(self, allowed: Tensor) -> None:
        """Raise SentenceError if the outline has a symbol outside the state space `allowed` (V,) bool."""
        given = [part for part in self.parts if part not in (FREE, OPEN)]
        given += [symbol for phrase in self.phrases for symbol in phrase]
        if any(not 0 <= symbol < len(allowed) or not allowed[symbol] for symbol in given):
            raise SentenceError("the given parts have symbols that the model does not generate; give other words")

    def possible(self, log_p: Tensor) -> Tensor:
        """Set the log-probabilities of lengths that a target of this outline cannot have to minus infinity.

        An outline without open blanks has one possible length, whose log-probability becomes 0.

        Args:
            log_p: (L,) nats, the log-probability of each length from 0 on.

        Returns:
            (L,) nats.

        Raises:
            SentenceError: if no length is possible.
        """
        if self.fewest >= len(log_p) or not (self.fewest or self.open):
            raise SentenceError(
                f"the given parts have {self.fewest} tokens; the model's targets have 1 to {len(log_p) - 1}"
            )
        lengths = torch.arange(len(log_p), device=log_p.device)
        if self.open:
            return log_p.masked_fill(lengths < max(self.fewest, 1), -torch.inf)
        return torch.full_like(log_p, -torch.inf).masked_fill(lengths == self.fewest, 0)

    def of_length(self, length: int, stream: np.random.Generator) -> list[int]:
        """Return the tokens of a target of this length, with FREE at its blanks.

        Args:
            length: the number of tokens, at least `fewest`.
            stream: shares the rest of the length among the open blanks at random.
        """
        rest = length - (len(self.parts) - self.open)
        shares = stream.multinomial(rest, [1 / self.open] * self.open).tolist() if self.open > 1 else [rest]
        found: list[int] = []
        for part in self.parts:
            found += [FREE] * shares.pop(0) if part == OPEN else [part]
        return found


Template = str | Outline


def outline_of(template: str, pieces: Pieces) -> Outline:
    """Read a template.

    Args:
        template: text with blanks.
        pieces: the model's pieces.

    Raises:
        UserError: if the template has no blank, or a brace that belongs to none, or if the dictionary lacks pieces of
            the text.
    """
    check_template(template)
    parts: list[int] = []
    for number, text in enumerate(BLANK.split(template)):
        if number % 2:
            parts += [FREE] * int(text) if text else [OPEN]
            continue
        held, dictionary = pieces.held(text, joined=bool(parts) and not text[:1].isspace()), pieces.dictionary
        if unknown := pieces.unknown(held):
            raise UserError(
                f"the model has no symbols for {text.strip()!r}: its dictionary lacks {unknown}; use other words"
            )
        parts += map(dictionary.index, held)
    return Outline(parts)


def outlines_of_templates(
    template: Template | Sequence[Template] | None, texts: int, pieces: Pieces, end: Sequence[int]
) -> list[Outline | None]:
    """Return the outline of each text's translation, or None for a text without a template.

    Args:
        template: one template for all texts, or one for each; a text with blanks as in `outline_of`, or an `Outline`.
            None gives no outlines.
        texts: the number of texts.
        pieces: the model's pieces.
        end: the symbols to add at the end of a template of text.

    Raises:
        UserError: if the number of templates is wrong, or as in `outline_of`.
    """
    if template is None:
        return [None] * texts
    templates = [template] * texts if isinstance(template, str | Outline) else template
    if len(templates) != texts:
        raise UserError(
            f"there are {len(templates)} templates for {texts} texts; give one for each text, or one for all"
        )
    return [one if isinstance(one, Outline) else Outline([*outline_of(one, pieces).parts, *end]) for one in templates]
