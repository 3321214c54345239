"""Names outputs by what made them, where they stand in the folders of `fairseq-mh experiments`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROW = "row.json"  # beside a run's output: its decoder, seed and settings


def system_names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each output: its decoder, with the settings and the seed in which it differs from the others.

    An output without such a record, or whose name another one would share, is named by its path.
    """
    rows = [_row(path.parent / ROW) for path in paths]
    names = [str(path) if row is None else _name(row, rows) for path, row in zip(paths, rows, strict=True)]
    return [name if names.count(name) == 1 else str(path) for path, name in zip(paths, names, strict=True)]


def _row(path: Path) -> dict[str, Any] | None:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("decoder"), str) else None


def _name(row: dict[str, Any], rows: Sequence[dict[str, Any] | None]) -> str:
    same = [other for other in rows if other and other["decoder"] == row["decoder"]]
    settings = [name for name in row if name.startswith(("mh_", "iter_")) or name == "seed"]
    differing = [name for name in settings if any(other.get(name) != row[name] for other in same)]
    return ", ".join([row["decoder"], *(f"{_title(name)} {row[name]}" for name in differing)])


def _title(setting: str) -> str:
    return setting.removeprefix("mh_").replace("_", " ")
