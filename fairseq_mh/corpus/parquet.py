"""Writes records as Parquet."""

import json
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

TERM = "energy_"  # the first part of the name of a term's energy
LISTS = ("translations", "samples")


def schema(terms: Sequence[str]) -> dict[str, Any]:
    """Return the columns of records whose energy has these terms (`energy_NAME`)."""
    fields: dict[str, Any] = {"text": pl.String} | dict.fromkeys(("score", "energy", *terms), pl.Float64)
    fields |= dict.fromkeys(("length", "chain", "sweep"), pl.Int64)
    columns: dict[str, Any] = {"sentence": pl.Int64, "id": pl.String, "source": pl.String}
    columns |= {name: pl.List(pl.Struct(fields)) for name in LISTS}
    return columns | {"rows": pl.Int64, "untranslated": pl.String}


def write_parquet(records: str, file: BinaryIO) -> None:
    """Write records, given as JSON lines, to a Parquet file whose columns have the terms of the records."""
    found = (json.loads(line) for line in StringIO(records))  # splitlines would also split at U+2028
    names = {name: None for record in found for part in LISTS for one in record[part] for name in one}
    terms = [name for name in names if name.startswith(TERM)]
    with _as_os_error():
        pl.read_ndjson(StringIO(records), schema=schema(terms)).write_parquet(file)


def join(parts: Sequence[Path], file: BinaryIO) -> None:
    """Join several Parquet files into one. A part without translations has no terms."""
    with _as_os_error():
        names: dict[str, None] = {}
        for part in parts:
            with part.open("rb") as opened:  # given a path, polars would expand `*` in it
                translations: Any = pl.read_parquet_schema(opened)["translations"]
            names |= {field.name: None for field in translations.inner.fields if field.name.startswith(TERM)}
        columns = pl.Schema(schema(list(names)))
        casts = pl.ScanCastOptions(missing_struct_fields="insert")
        pl.scan_parquet(list(parts), glob=False, schema=columns, cast_options=casts).sink_parquet(file)


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Raise polars' error for a full disk as OSError."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise OSError(one_line(error)) from None
