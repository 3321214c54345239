"""Reads the pieces that a trace's token indices stand for from a data folder's dictionary, without fairseq."""

from pathlib import Path

from fairseq_mh.errors import UserError
from fairseq_mh.files.output import readable_lines

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]  # fairseq puts these before the file's symbols
OVERWRITE = "#fairseq:overwrite"  # fairseq removes this mark from the end of a line


def target_language(data: Path) -> str:
    """Return the target language, read from the names of the binarised files (`SPLIT.de-en.en.idx`).

    Raises:
        UserError: if the folder has no such files, or files of several language pairs.
    """
    pairs = {path.name.split(".")[-3] for path in data.glob("*.*-*.*.idx")}
    if len(pairs) != 1:
        raise UserError(f"{data} is not a folder of binarised data of one language pair")
    return pairs.pop().split("-")[1]


def target_pieces(data: Path) -> list[str]:
    """Return the target dictionary's symbols by index, as fairseq's `Dictionary.load` numbers them.

    Raises:
        UserError: if there is no such dictionary.
    """
    lines = readable_lines(data / f"dict.{target_language(data)}.txt")
    return SPECIAL + [line.removesuffix(f" {OVERWRITE}").rpartition(" ")[0] for line in lines]
