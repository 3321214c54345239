"""Parses templates, which are texts with blanks, such as `Click {2} to {}.`"""

import re
from typing import NamedTuple

import numpy as np

from fairseq_mh.errors import UserError

BLANK = re.compile(r"\{(\d*)\}")


class Template(NamedTuple):
    """A text in which `{n}` is a blank of n symbols, and `{}` an open blank of a random number of symbols."""

    given: str

    def check(self) -> "Template":
        """Return the template itself.

        Raises:
            UserError: if there is no blank to fill.
        """
        if not any(number != "0" for number in BLANK.findall(self.given)):
            raise UserError(
                f"the text {self.given!r} has no blank: write {{3}} for a blank of 3 symbols, {{}} for any number"
            )
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
