"""What fairseq's dictionaries say of their symbols."""

import torch
from fairseq.data import Dictionary
from torch import Tensor

from fairseq_mh.masked_lms.sentence_pieces import WORD


def allowed_symbols(dictionary: Dictionary) -> Tensor:
    """Return the symbols that a state may hold: (V,) bool.

    Special symbols are left out, and so are the words that only pad the dictionary to a multiple of 8.
    """
    return torch.tensor(
        [i >= dictionary.nspecial and not dictionary[i].startswith("madeupword") for i in range(len(dictionary))]
    )


def subwords(dictionary: Dictionary) -> str | None:
    """Return the name under which fairseq joins this dictionary's pieces to words, judging by how the pieces look.

    Returns:
        A value of `--post-process`, or None where the symbols are whole words.
    """
    if any(symbol.startswith(WORD) for symbol in dictionary.symbols):
        return "sentencepiece"
    return "subword_nmt" if any(symbol.endswith("@@") for symbol in dictionary.symbols) else None
