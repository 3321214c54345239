"""Reads templates, which are texts with blanks: `{n}` is a blank of n symbols, `{}` an open one of a random number."""

import re

import numpy as np

from fairseq_mh.errors import refuse

BLANK = re.compile(r"\{(\d{0,4})\}")
BRACES = re.compile("[{}\uff5b\uff5d]")  # with their full-width forms, which models turn into the plain ones
HOW = "write {3} for a blank of 3 symbols (at most 9999), {} for any number"


def check_template(template: str) -> None:
    """Check a template.

    Raises:
        UserError: if there is no blank to fill, or a brace that belongs to no blank.
    """
    strange = bool(BRACES.search(BLANK.sub("", template)))
    full = not any(number == "" or int(number) for number in BLANK.findall(template))
    refuse(
        {
            f"the text {template!r} has a brace that is no part of a blank: {HOW}": strange,
            f"the text {template!r} has no blank: {HOW}": full,
        }
    )


def with_masks(template: str, mask: str, lengths: range, stream: np.random.Generator) -> str:
    """Return the text of a template with a mask for each symbol of its blanks.

    Args:
        template: the template.
        mask: the string that stands for a mask.
        lengths: the possible numbers of symbols of an open blank, all equally likely.
        stream: the generator that draws these numbers.
    """
    return BLANK.sub(lambda blank: mask * int(blank[1] or stream.integers(lengths.start, lengths.stop)), template)
