"""Records as Parquet."""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any, BinaryIO

from fairseq_mh.errors import UserError

try:
    import polars as pl
except ImportError:
    raise UserError("Parquet needs polars, which is not installed (pip install 'fairseq-mh[ray]')") from None

FOUND: dict[str, Any] = {"text": pl.String, "score": pl.Float64, "energy": pl.Float64, "energy_raw": pl.Float64}
FOUND |= {"energy_norm": pl.Float64, "energy_centred": pl.Float64}
FOUND |= {"length": pl.Int64, "chain": pl.Int64, "sweep": pl.Int64}
SCHEMA: dict[str, Any] = {"sentence": pl.Int64, "id": pl.String, "source": pl.String}
SCHEMA |= {name: pl.List(pl.Struct(FOUND)) for name in ("translations", "samples")}
SCHEMA |= {"rows": pl.Int64, "untranslated": pl.String}


def write_parquet(records: str, file: BinaryIO) -> None:
    """records: JSON lines."""
    pl.read_ndjson(StringIO(records), schema=SCHEMA).write_parquet(file)


def join(parts: Sequence[Path], file: BinaryIO) -> None:
    pl.scan_parquet(list(parts)).sink_parquet(file)
