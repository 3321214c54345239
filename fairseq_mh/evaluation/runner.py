"""Runs of a grid, and the tables of their results.

A run's folder appears when the run is finished: what is there is not run again.
"""

import json
import os
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.grid import GridRun

PACKAGES = ("fairseq-mh", "ve-fairseq", "torch", "transformers", "sacrebleu")


class Bench(Protocol):
    """What all runs of an experiment work on."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """More of the program's options, and no setting of a sampler."""
        ...

    @property
    def own(self) -> tuple[str, ...]:
        """The prefixes of the settings that only the grid may say."""
        ...

    def identity(self) -> tuple[str, ...]:
        """Everything that decides a result besides the run."""
        ...

    def settings(self, run: GridRun) -> dict[str, Any]:
        """Every setting of the run, those that it leaves to their defaults included."""
        ...

    def execute(self, run: GridRun, folder: Path) -> None:
        """Leaves what `measure` reads in a folder that may hold what a stopped run left.

        Raises:
            UserError: where the run fails.
        """
        ...

    def measure(self, folder: Path) -> tuple[dict[str, Any], pl.DataFrame]:
        """What is to be told of the run, and its curve, a row a sweep."""
        ...


def run_once(run: GridRun, bench: Bench, output: Path) -> Path:
    """The folder of a finished run: its output, trace, row of results and curve.

    Raises:
        UserError: where the run fails, or the bench's arguments hold what is the grid's to say.
    """
    for argument in bench.arguments:
        if argument.startswith(bench.own):
            raise UserError(f"{argument} belongs into the grid, so that the results name it")
    settings = bench.settings(run)
    key = run.key(*map(str, (*settings.items(), version("fairseq-mh"), *bench.identity())))
    folder, partial = output / "runs" / key, output / "runs" / f"{key}.part"
    if folder.exists():
        return folder
    partial.mkdir(parents=True, exist_ok=True)
    bench.execute(run, partial)
    measured, curve = bench.measure(partial)
    row = {
        "experiment": run.experiment,
        "decoder": run.decoder,
        "seed": run.seed,
        **measured,
        **{name: str(value) for name, value in settings.items() if name != "mh_trace"},
        "arguments": " ".join(bench.arguments),
        "versions": " ".join(f"{name}={found}" for name, found in versions().items()),
    }
    curve.write_csv(partial / "curve.csv")
    (partial / "row.json").write_text(json.dumps(row, indent=1), encoding="utf-8")
    partial.rename(folder)
    return folder


def versions() -> dict[str, str]:
    """Of the packages that decide results, where they are installed."""
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def collect(folders: list[Path], output: Path) -> pl.DataFrame:
    """Write `results.csv`, a row a run, and `curves.csv`, a row a run and sweep, for these finished runs."""
    rows = [json.loads((folder / "row.json").read_text(encoding="utf-8")) for folder in folders]
    results = pl.DataFrame([{"run": folder.name, **row} for folder, row in zip(folders, rows, strict=True)])
    curves = [
        pl.read_csv((folder / "curve.csv").read_bytes()).insert_column(0, pl.lit(folder.name).alias("run"))
        for folder in folders
    ]
    for name, table in (("results.csv", results), ("curves.csv", pl.concat(curves, how="vertical_relaxed"))):
        partial = output / f"{name}.part"
        table.write_csv(partial)
        os.replace(partial, output / name)
    return results
