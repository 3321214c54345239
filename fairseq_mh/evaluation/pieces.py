"""Reads the pieces behind a trace's token indices from a data folder's dictionary, without fairseq."""

from pathlib import Path

from fairseq_mh.errors import UserError
from fairseq_mh.files.output import readable_lines

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]  # fairseq puts these before the file's symbols
OVERWRITE = "#fairseq:overwrite"  # a mark at the end of a line, which fairseq removes


def target_language(data: Path) -> str:
    """Return the target language, which the names of the binarised files say (`SPLIT.de-en.en.idx`).

    Raises:
        UserError: where the folder has no such files, or files of several language pairs.
    """
    pairs = {path.name.split(".")[-3] for path in data.glob("*.*-*.*.idx")}
    if len(pairs) != 1:
        raise UserError(f"{data} is no folder of binarised data for one pair of languages")
    return pairs.pop().split("-")[1]


def target_pieces(data: Path) -> list[str]:
    """Return the target dictionary's symbols by index, as fairseq's `Dictionary.load` numbers them.

    Raises:
        UserError: where there is no such dictionary.
    """
    lines = readable_lines(data / f"dict.{target_language(data)}.txt")
    return SPECIAL + [line.removesuffix(f" {OVERWRITE}").rpartition(" ")[0] for line in lines]
