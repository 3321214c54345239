"""The sentencepiece model that a user names, and its mark."""

from pathlib import Path

import sentencepiece

from fairseq_mh.errors import UserError

WORD = "\u2581"  # begins a piece that begins a word


def sentence_pieces(path: Path | None) -> sentencepiece.SentencePieceProcessor | None:
    """Load the model that `--sentencepiece` names, or return None where the option is not given.

    Raises:
        UserError: for a file that is no sentencepiece model.
    """
    try:
        return sentencepiece.SentencePieceProcessor(str(path)) if path else None
    except (OSError, RuntimeError) as error:
        raise UserError(f"--sentencepiece-model cannot be read: {error}") from None
