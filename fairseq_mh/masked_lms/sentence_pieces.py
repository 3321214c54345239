"""A sentencepiece model that a user names."""

from pathlib import Path

import sentencepiece

from fairseq_mh.errors import UserError


def sentence_pieces(path: Path | None) -> sentencepiece.SentencePieceProcessor | None:
    """What `--sentencepiece` names, if it names one. Raises UserError for a file that is no such model."""
    try:
        return sentencepiece.SentencePieceProcessor(str(path)) if path else None
    except (OSError, RuntimeError) as error:
        raise UserError(f"--sentencepiece-model cannot be read: {error}") from None
