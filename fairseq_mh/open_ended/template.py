"""What is given of a text, and where its blanks are: `Click {2} to {}.`"""

import re
from typing import NamedTuple

import numpy as np

from fairseq_mh.errors import UserError

BLANK = re.compile(r"\{(\d*)\}")


class Template(NamedTuple):
    """A text in which `{n}` is a blank of n symbols, and `{}` one of a random number."""

    given: str

    def check(self) -> "Template":
        """Raises UserError where there is nothing to fill in."""
        if not any(number != "0" for number in BLANK.findall(self.given)):
            raise UserError(
                f"the text {self.given!r} has no blank: write {{3}} for one of 3 symbols, {{}} for any number"
            )
        return self

    def text(self, mask: str, lengths: range, stream: np.random.Generator) -> str:
        """With a mask for each symbol of its blanks; an open blank's number is drawn from `lengths`, each equally."""

        def masks(blank: re.Match) -> str:
            number = int(blank[1]) if blank[1] else int(stream.integers(lengths.start, lengths.stop))
            return mask * number

        return BLANK.sub(masks, self.given)
