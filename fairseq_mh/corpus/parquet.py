"""Writes records as Parquet files, and joins such files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, BinaryIO

from fairseq_mh.errors import UserError, one_line

try:
    import polars as pl
except ImportError:
    raise UserError("Parquet needs polars, which is not installed (pip install 'fairseq-mh[ray]')") from None

FIELDS: dict[str, Any] = {"text": pl.String, "score": pl.Float64, "energy": pl.Float64, "energy_raw": pl.Float64}
FIELDS |= {"energy_norm": pl.Float64, "energy_centred": pl.Float64}
FIELDS |= {"length": pl.Int64, "chain": pl.Int64, "sweep": pl.Int64}
SCHEMA: dict[str, Any] = {"sentence": pl.Int64, "id": pl.String, "source": pl.String}
SCHEMA |= {name: pl.List(pl.Struct(FIELDS)) for name in ("translations", "samples")}
SCHEMA |= {"rows": pl.Int64, "untranslated": pl.String}


def write_parquet(records: str, file: BinaryIO) -> None:
    """Write a Parquet file of records that are given as JSON lines."""
    with _as_os_error():
        pl.read_ndjson(StringIO(records), schema=SCHEMA).write_parquet(file)


def join(parts: Sequence[Path], file: BinaryIO) -> None:
    """Join several Parquet files into one."""
    with _as_os_error():
        pl.scan_parquet(list(parts), glob=False).sink_parquet(file)


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Raise errors of polars, such as those of a full disk, as OSError."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise OSError(one_line(error)) from None
