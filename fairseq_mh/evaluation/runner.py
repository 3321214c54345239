"""Runs a grid, and writes the tables of its results.

A run's folder gets its final name only when the run has finished. A run whose folder exists is not repeated.
"""

import json
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import polars as pl

import fairseq_mh
from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.grid import GridRun
from fairseq_mh.evaluation.tables import without_unread
from fairseq_mh.files.chunks import fingerprint, write_whole

PACKAGES = ("ve-fairseq", "torch", "transformers", "sacrebleu")


class Bench(Protocol):
    """The model, the data and the program that all runs of an experiment share."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """Further options of the program that are no settings of the sampler."""

    @property
    def own(self) -> tuple[str, ...]:
        """The prefixes of the options that only the grid may give."""

    def identity(self) -> tuple[str, ...]:
        """Return everything that decides a result besides the run itself."""

    def settings(self, run: GridRun) -> dict[str, Any]:
        """Return every setting of the run, including those at their defaults."""

    def execute(self, run: GridRun, folder: Path) -> None:
        """Run the program, and write the files that `measure` reads.

        Args:
            run: the run to execute.
            folder: the folder to write to, which may hold files of an interrupted attempt.

        Raises:
            UserError: if the run fails.
        """

    def measure(self, folder: Path) -> tuple[dict[str, Any], pl.DataFrame]:
        """Return the run's row of results, and its curve with a row for each sweep."""


def run_once(run: GridRun, bench: Bench, output: Path) -> Path:
    """Execute a run unless it has finished before.

    Args:
        run: a run of the grid.
        bench: the model, the data and the program of the run.
        output: the experiment's folder.

    Returns:
        The run's folder, with its output, trace, row of results and curve.

    Raises:
        UserError: if the run fails, or if the bench's arguments hold an option that belongs in the grid.
    """
    for argument in bench.arguments:
        if argument.startswith(bench.own):
            raise UserError(f"{argument} belongs in the grid, so that the results name it")
    settings = bench.settings(run)
    fingerprints = [fingerprint(Path(file)) for file in run.files(run.options) if Path(file).is_file()]
    key = run.key(*map(str, (*settings.items(), fairseq_mh.__version__, *bench.identity(), *fingerprints)))
    folder, partial = output / "runs" / key, output / "runs" / f"{key}.part"
    if folder.exists():
        return folder
    partial.mkdir(parents=True, exist_ok=True)
    bench.execute(run, partial)
    measured, curve = bench.measure(partial)
    row = {
        "experiment": run.experiment,
        "title": run.title,
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
    """Return the versions of this package and of those installed ones that can change results."""
    found = {"fairseq-mh": fairseq_mh.__version__}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def collect(folders: list[Path], output: Path) -> pl.DataFrame:
    """Write `results.csv`, a row for each run, and `curves.csv`, a row for each run and sweep.

    Args:
        folders: the folders of finished runs.
        output: the experiment's folder.

    Returns:
        The content of `results.csv`.
    """
    rows = [json.loads((folder / "row.json").read_text(encoding="utf-8")) for folder in folders]
    named = [{"run": folder.name, **row} for folder, row in zip(folders, rows, strict=True)]
    results = without_unread(pl.DataFrame(named, infer_schema_length=None))
    curves = [
        pl.read_csv((folder / "curve.csv").read_bytes()).insert_column(0, pl.lit(folder.name).alias("run"))
        for folder in folders
    ]
    for name, table in (("results.csv", results), ("curves.csv", pl.concat(curves, how="diagonal_relaxed"))):
        write_whole(output / name, table.write_csv)
    return results
