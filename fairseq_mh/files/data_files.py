"""Checks that there is a data folder, and that the binarised files of a split are complete.

fairseq reads them through a memory map, so that a truncated file would make it fail in the middle of a run.
"""

import struct
from pathlib import Path

from fairseq.data.indexed_dataset import _code_to_dtype

from fairseq_mh.errors import UserError

MAGIC = b"MMIDIDX\x00\x00"  # the first bytes of an index
HEADER = struct.Struct("<QBQ")  # version, code of the tokens' type, number of sentences
SIZE, POINTER = struct.Struct("<i"), struct.Struct("<q")  # per sentence: number of tokens, offset of the first byte


def require_folder(path: Path) -> None:
    """Check that a data folder exists.

    Raises:
        UserError: if it does not, or if it is a file.
    """
    if not path.is_dir():
        found = "is not a folder" if path.exists() else "does not exist"
        raise UserError(f"{path} {found}; fairseq's data folder, which has the dictionaries, is expected")


def check_split(folder: Path, split: str) -> None:
    """Check each index of a split, and the data file that belongs to it.

    Args:
        folder: the folder with the binarised files.
        split: `train`, `valid`, `test`, or the name of another subset.

    Raises:
        UserError: if an index or its data file is missing, or if their sizes do not agree.
    """
    files = [path for ending in ("idx", "bin") for path in folder.glob(f"{split}.*-*.*.{ending}")]
    for prefix in sorted({path.with_suffix("") for path in files}):
        index, data = (prefix.with_name(f"{prefix.name}.{ending}") for ending in ("idx", "bin"))
        for path in (index, data):
            if not path.exists():
                raise UserError(f"{path} is missing")
        content = index.read_bytes()
        if content.startswith(MAGIC) and data.stat().st_size != _data_size(index, content):
            raise UserError(f"{data} is truncated, or does not belong to its index")


def target_language(data: Path) -> str:
    """Return the target language, read from the names of the binarised files (`SPLIT.de-en.en.idx`).

    Raises:
        UserError: if the folder has no such files, or files of several language pairs.
    """
    pairs = {path.name.split(".")[-3] for path in data.glob("*.*-*.*.idx")}
    if len(pairs) != 1:
        raise UserError(f"{data} is not a folder of binarised data of one language pair")
    return pairs.pop().split("-")[1]


def _data_size(index: Path, content: bytes) -> int:
    """Return the size in bytes that the index gives for its data file."""
    start = len(MAGIC) + HEADER.size
    if len(content) < start:
        raise UserError(f"{index} is truncated")
    _, code, sentences = HEADER.unpack_from(content, len(MAGIC))
    if len(content) != start + sentences * (SIZE.size + POINTER.size) or code not in _code_to_dtype:
        raise UserError(f"{index} is truncated")
    if sentences == 0:
        return 0
    (size,) = SIZE.unpack_from(content, start + (sentences - 1) * SIZE.size)
    (pointer,) = POINTER.unpack_from(content, len(content) - POINTER.size)
    return pointer + size * _code_to_dtype[code]().itemsize
