"""Makes a temporary data folder that holds only the first sentences of a subset."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fairseq.data import indexed_dataset

from fairseq_mh.errors import UserError
from fairseq_mh.files.data_files import check_split


@contextmanager
def limited_data(data: Path, subset: str, limit: int | None) -> Iterator[Path]:
    """Yield a temporary data folder whose subset holds only its first sentences.

    The sentences keep their numbers, so their random streams and their translations do not change.

    Args:
        data: fairseq's data folder.
        subset: the name of the subset.
        limit: number of sentences; None yields the data folder itself.

    Raises:
        UserError: if the folder has no such subset, or its files are damaged.
    """
    if limit is None:
        yield data
        return
    check_split(data, subset)
    indices = sorted(data.glob(f"{subset}.*-*.*.idx"))
    if not indices:
        raise UserError(f"{data} holds no binarised data of the subset {subset}")
    with tempfile.TemporaryDirectory(prefix="fairseq-mh.") as name:
        folder = Path(name)
        for dictionary in data.glob("dict.*.txt"):
            (folder / dictionary.name).symlink_to(dictionary.resolve())
        for index in indices:
            _copy_first(index.with_suffix(""), folder / index.stem, limit)
        yield folder


def sentences_of(data: Path, subset: str, limit: int | None) -> int:
    """Return the number of a subset's sentences, at most `limit`; 0 if its data are not binarised.

    Raises:
        UserError: if its files are damaged.
    """
    check_split(data, subset)
    counts = (len(_read(index.with_suffix(""))) for index in data.glob(f"{subset}.*-*.*.idx"))
    whole = min(counts, default=0)
    return whole if limit is None else min(limit, whole)


def _read(source: Path) -> Any:
    """Return fairseq's indexed data set of a path without ending."""
    return indexed_dataset.make_dataset(str(source), indexed_dataset.infer_dataset_impl(str(source)))


def _copy_first(source: Path, target: Path, limit: int) -> None:
    """Write the first sentences of fairseq's indexed data set `source` as `target`; both paths have no ending."""
    sentences = _read(source)
    builder = indexed_dataset.make_builder(f"{target}.bin", impl="mmap")
    for number in range(min(limit, len(sentences))):
        builder.add_item(sentences[number])
    builder.finalize(f"{target}.idx")
