"""Reads which parts of a text are given, and where its blanks are: `Click {2} to {}.`"""

import re
from typing import NamedTuple

import numpy as np

from fairseq_mh.errors import UserError

BLANK = re.compile(r"\{(\d*)\}")


class Template(NamedTuple):
    """A text in which `{n}` is a blank of n symbols, and `{}` an open blank, of a random number of symbols."""

    given: str

    def check(self) -> "Template":
        """Return the template itself.

        Raises:
            UserError: where there is nothing to fill in.
        """
        if not any(number != "0" for number in BLANK.findall(self.given)):
            raise UserError(
                f"the text {self.given!r} has no blank: write {{3}} for one of 3 symbols, {{}} for any number"
            )
        return self

    def text(self, mask: str, lengths: range, stream: np.random.Generator) -> str:
        """Return the text with a mask for each symbol of its blanks.

        Args:
            mask: how the model writes a mask.
            lengths: the numbers of symbols of which an open blank draws one, all equally likely.
            stream: draws them.
        """

        def masks(blank: re.Match) -> str:
            number = int(blank[1]) if blank[1] else int(stream.integers(lengths.start, lengths.stop))
            return mask * number

        return BLANK.sub(masks, self.given)
