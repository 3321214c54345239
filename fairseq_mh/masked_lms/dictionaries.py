"""Properties of the symbols of fairseq's dictionaries, and the sentencepiece models that go with them."""

from pathlib import Path

import sentencepiece
import torch
from fairseq.data import Dictionary
from torch import Tensor

from fairseq_mh.errors import UserError, one_line, reason

WORD = "\u2581"  # the first character of a piece that begins a word


def sentence_pieces(path: Path | None) -> sentencepiece.SentencePieceProcessor | None:
    """Load a sentencepiece model, or return None if no path is given.

    Raises:
        UserError: if the file is not a sentencepiece model.
    """
    try:
        return sentencepiece.SentencePieceProcessor(str(path)) if path else None
    except (OSError, RuntimeError) as error:
        raise UserError(f"--sentencepiece-model cannot be read: {reason(error)}") from None


def load_dictionary(path: str | Path) -> Dictionary:
    """Load a dictionary of fairseq, without the byte order mark that some editors write at its start.

    Raises:
        OSError: if the file cannot be opened.
        UserError: if it is not the dictionary of a model.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            return Dictionary.load(file)
    except (ValueError, RuntimeError) as error:
        said = one_line(error).partition(" Duplicate words can")[0]  # advice that would change the model's symbols
        raise UserError(f"the dictionary {path} is not one of a model's training: {said}") from None


def allowed_symbols(dictionary: Dictionary) -> Tensor:
    """Return the symbols that a state may hold: (V,) bool.

    Special symbols are left out, and so are the words that only pad the dictionary to a multiple of 8.
    """
    return torch.tensor(
        [i >= dictionary.nspecial and not dictionary[i].startswith("madeupword") for i in range(len(dictionary))]
    )


def subwords(dictionary: Dictionary) -> str | None:
    """Return fairseq's name for the way to join this dictionary's pieces to words, as its symbols show.

    Returns:
        A value of `--post-process`, or None if the symbols are whole words.
    """
    if any(symbol.startswith(WORD) for symbol in dictionary.symbols):
        return "sentencepiece"
    return "subword_nmt" if any(symbol.endswith("@@") for symbol in dictionary.symbols) else None
