"""Parses templates, which are texts with blanks, such as `Click {2} to {}.`"""

import re
from typing import NamedTuple

import numpy as np

from fairseq_mh.errors import UserError

BLANK = re.compile(r"\{(\d{0,4})\}")
BRACES = re.compile("[{}\uff5b\uff5d]")  # with their full-width forms, which models turn into the plain ones


class Template(NamedTuple):
    """A text in which `{n}` is a blank of n symbols, and `{}` an open blank of a random number of symbols."""

    given: str

    def check(self) -> "Template":
        """Return the template itself.

        Raises:
            UserError: if there is no blank to fill, or a brace that belongs to no blank.
        """
        how = "write {3} for a blank of 3 symbols (at most 9999), {} for any number"
        if BRACES.search(BLANK.sub("", self.given)):
            raise UserError(f"the text {self.given!r} has a brace that is no part of a blank: {how}")
        if not any(number == "" or int(number) for number in BLANK.findall(self.given)):
            raise UserError(f"the text {self.given!r} has no blank: {how}")
        return self

    def text(self, mask: str, lengths: range, stream: np.random.Generator) -> str:
        """Return the text with a mask for each symbol of its blanks.

        Args:
            mask: the string that stands for a mask.
            lengths: the possible numbers of symbols of an open blank, all equally likely.
            stream: the generator that draws these numbers.
        """

        def masks_for(blank: re.Match) -> str:
            number = int(blank[1]) if blank[1] else int(stream.integers(lengths.start, lengths.stop))
            return mask * number

        return BLANK.sub(masks_for, self.given)
