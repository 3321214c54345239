"""The only place where text that a user gives is cut into the model's pieces, and where pieces are joined to text."""

import logging
import unicodedata
from typing import Any

from fairseq.data import Dictionary
from torch import Tensor

from fairseq_mh.errors import WarnOnce, not_unicode
from fairseq_mh.masked_lms.dictionaries import WORD

logger = logging.getLogger(__name__)
FITS = 0.9  # at least this share of a dictionary's symbols are pieces of its own SentencePiece model; others have less


class Cutter:
    """A tokenizer or subword model of fairseq that leaves text whole which is not Unicode: no dictionary has it.

    Args:
        cutter: fairseq's object; libraries in C++ would end the run at such text.
    """

    def __init__(self, cutter: Any):
        self.cutter, self.decode = cutter, cutter.decode

    def encode(self, text: str) -> str:
        """Split a text into pieces, and return them separated by spaces."""
        return text if not_unicode(text) else self.cutter.encode(text)


class Pieces:
    """Cuts text into the pieces of a model, and joins them.

    Args:
        dictionary: the dictionary of the targets.

    Attributes:
        tokenizer, bpe: what splits text into words, and words into pieces, if the options give it.
        warn_once: logs one warning about each given text.
    """

    def __init__(self, dictionary: Dictionary):
        self.dictionary = dictionary
        self.tokenizer: Cutter | None = None
        self.bpe: Cutter | None = None
        self.warn_once = WarnOnce(logger)

    def cut(self, text: str) -> str:
        """Split a text into pieces, and return them separated by spaces."""
        for cutter in filter(None, (self.tokenizer, self.bpe)):
            text = cutter.encode(text)
        return text

    def join(self, symbols: Tensor | list[int], post_process: str | None = None) -> str:
        """Return the text of a target's symbols.

        Args:
            symbols: T symbols of the dictionary.
            post_process: how to join the pieces if there is no subword model that does it, as in `--post-process`.
        """
        ending = {self.dictionary.eos()}
        text = self.dictionary.string(symbols, None if self.bpe else post_process, extra_symbols_to_ignore=ending)
        for cutter in filter(None, (self.bpe, self.tokenizer)):
            text = cutter.decode(text)
        return text

    def held(self, text: str, joined: bool = False) -> list[str]:
        """Return the pieces of a text that a translation must contain; log, once, if they spell another text.

        Args:
            text: the text; spaces around it are left out.
            joined: whether the text continues the word before it.
        """
        pieces = self.cut(text.strip()).split() if text.strip() else []
        if joined and pieces and pieces[0].startswith(WORD):
            first = pieces[0].removeprefix(WORD)
            pieces[:1] = [first] if first in self.dictionary else list(first)
        symbols = [self.dictionary.index(piece) for piece in pieces]
        if all(symbol >= self.dictionary.nspecial for symbol in symbols):
            self._say_if_changed(text.strip(" \t\r\n"), self.join(symbols))
        return pieces

    def _say_if_changed(self, given: str, held: str) -> None:
        """Log a warning, once for each text, if a text is held in another spelling."""
        if given == held:
            return
        alike = unicodedata.normalize("NFC", given) == held  # then only their codes show the difference
        show = ascii if alike else repr
        if held:
            what = f"{show(given)} is held as {show(held)}: the model's pieces spell it so"
        else:
            what = f"{given!a} is ignored: it becomes none of the model's pieces"
        self.warn_once(given, f"the given text {what}")

    def unknown(self, pieces: list[str]) -> str:
        """Return the pieces that the dictionary lacks, with spaces between; control characters are escaped."""
        lacking = " ".join(piece for piece in pieces if piece not in self.dictionary)
        return lacking if lacking.isprintable() else ascii(lacking)


def warn_of_other_pieces(bpe: Any, dictionary: Dictionary) -> None:
    """Log a warning if fairseq's subword model is a SentencePiece model that was not made for the dictionary."""
    processor = getattr(bpe, "sp", None)
    if processor is None:
        return
    symbols = {s for s in dictionary.symbols[dictionary.nspecial :] if not s.startswith("madeupword")}
    known = len(symbols.intersection(map(processor.IdToPiece, range(processor.GetPieceSize()))))
    if known < FITS * len(symbols):
        logger.warning(
            "the SentencePiece model does not fit the dictionary: only %d of the %d symbols of the dictionary are its "
            "pieces, so translations will be bad; put the model's own spm.model into the data folder, or name it with "
            "--sentencepiece-model",
            *(known, len(symbols)),
        )
