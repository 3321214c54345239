"""Properties of the symbols of fairseq's dictionaries, and the sentencepiece models that go with them."""

from pathlib import Path

import sentencepiece
import torch
from fairseq.data import Dictionary
from torch import Tensor

from fairseq_mh.errors import UserError, one_line, reason
from fairseq_mh.files.data_files import target_language

WORD = "\u2581"  # the first character of a piece that begins a word
GOES_ON = "@@"  # subword-nmt's mark of a piece that does not end its word


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


def target_dictionary(data: Path) -> Dictionary:
    """Load the target dictionary of a folder of binarised data.

    Raises:
        OSError, UserError: as in `load_dictionary` and `target_language`.
    """
    return load_dictionary(data / f"dict.{target_language(data)}.txt")


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
    return "subword_nmt" if any(symbol.endswith(GOES_ON) for symbol in dictionary.symbols) else None


class Words:
    """Finds the words of sentences of pieces.

    Args:
        dictionary: the dictionary of the pieces.
    """

    def __init__(self, dictionary: Dictionary):
        self.unknown, joined = dictionary.unk(), subwords(dictionary)
        symbols = [dictionary[i] for i in range(len(dictionary))]
        # Whether a word begins with a symbol; an unknown symbol can continue a word.
        self.begins = torch.tensor([joined != "sentencepiece" or symbol.startswith(WORD) for symbol in symbols])
        self.goes_on = torch.tensor([joined == "subword_nmt" and symbol.endswith(GOES_ON) for symbol in symbols])

    def counts(self, sentences: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Count the words, words with an unknown symbol, symbols, and unknown symbols of sentences.

        Args:
            sentences: (B, S) long, with padding on either side.

        Returns:
            Four tensors (B,) long.
        """
        real, unknown = sentences >= self.unknown, sentences == self.unknown  # the other special symbols come before it
        begins = self.begins[sentences]
        begins[:, 1:] &= ~self.goes_on[sentences[:, :-1]]
        word = begins.cumsum(1)
        empty = word.new_zeros(len(word), word.shape[1] + 1)
        words, lost = (empty.scatter_add(1, word, part.long()).gt(0).sum(1) for part in (real, unknown))
        return words, lost, real.sum(1), unknown.sum(1)
