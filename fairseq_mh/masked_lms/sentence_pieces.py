"""The sentencepiece model that a user names."""

from pathlib import Path

import sentencepiece

from fairseq_mh.errors import UserError


def sentence_pieces(path: Path | None) -> sentencepiece.SentencePieceProcessor | None:
    """Load the model that `--sentencepiece` names, or return None where the option is not given.

    Raises:
        UserError: for a file that is no sentencepiece model.
    """
    try:
        return sentencepiece.SentencePieceProcessor(str(path)) if path else None
    except (OSError, RuntimeError) as error:
        raise UserError(f"--sentencepiece-model cannot be read: {error}") from None
