"""Reads and checks the tables that `fairseq-mh experiments` wrote."""

from pathlib import Path
from typing import NamedTuple

import polars as pl

from fairseq_mh.errors import UserError, reason
from fairseq_mh.evaluation.tables import common_energy, settings_of, settings_that_differ, without_unread
from fairseq_mh.files.output import read_output

SIGNATURES = ("bleu_signature", "chrf_signature")
BENCH = ("data", "subset", "sentences", *SIGNATURES)  # must be equal in all runs, or their scores cannot be compared
TEXT = (*BENCH, "run", "experiment", "decoder", "versions", "arguments")
NUMBERS = (
    "bleu",
    "chrf",
    "energy",
    "best_energy",
    "acceptance_rate",
    "novel_rate",
    "rows",
    "seconds",
)
INTERVALS = ("bleu_ci", "chrf_ci")  # tables of older versions have no intervals and no checkpoint
ALWAYS = ("bleu", "chrf", "rows")  # energies, rates and seconds may be unknown
BY_SWEEP = ("energy", "bleu", "acceptance_rate", "novel_rate")
OF_THE_PAPER = ("corpus_energy_norm",)  # only runs whose energy has the term norm have it
EARLIER = {"energy": "energy_norm", "best_energy": "best_energy_norm"}  # names in tables of older versions
SHORT = {
    "mh_temperature": "τ",
    "mh_final_temperature": "final τ",
    "mh_proposal_temperature": "τ_q",
    "mh_nucleus": "b",
}


class Results(NamedTuple):
    """The runs of a report."""

    runs: pl.DataFrame  # a row for each run; `sampler` names its decoder and settings, `folder` holds its files
    curves: pl.DataFrame  # a row for each run and sweep, with the run's `experiment`, `decoder` and `sampler`
    energy: str  # the name of the energy by which the runs are compared


def read_results(folders: list[Path]) -> Results:
    """Read the runs of several folders; a run that is in two folders counts once.

    Raises:
        UserError: if `fairseq-mh experiments` did not write a folder, or if the runs are of different data.
    """
    tables = []
    for folder in folders:
        runs = _read(folder / "results.csv", TEXT, NUMBERS, {"seed": pl.Int64})
        if invalid := [name for name in runs["run"] if Path(name).name != name]:
            raise UserError(f"{folder / 'results.csv'} names a run that is not a folder name: {invalid[0]!r}")
        tables.append(runs.with_columns(folder=str(folder / "runs") + "/" + pl.col("run")))
    runs = pl.concat(tables, how="diagonal").unique(["experiment", "run"], keep="first", maintain_order=True)
    energy = common_energy(runs)
    runs = runs.with_columns(energy=pl.col(energy), best_energy=pl.col(f"best_{energy}"))
    for name in BENCH:
        if len(values := runs[name].unique(maintain_order=True)) > 1:
            raise UserError(f"the results differ in {name} ({', '.join(values)}): make a separate report of each")
    given = pl.col(settings_of(runs.columns)).fill_null("-").replace("None", "-")  # an option that was not given
    runs = runs.with_columns(given.map_elements(plain_number, pl.String)).pipe(without_unread)
    parts = [_name_samplers(part) for part in runs.partition_by("experiment", maintain_order=True)]
    runs = pl.concat(parts)
    curves = [_read(folder / "curves.csv", ("run",), BY_SWEEP, {"sweep": pl.Int64}) for folder in folders]
    by_run = pl.concat(curves, how="diagonal").unique(["run", "sweep"], keep="first", maintain_order=True)
    if energy in by_run.columns:
        by_run = by_run.with_columns(energy=pl.col(energy))
    by_sweep = runs.select("run", "experiment", "decoder", "sampler", "seed").join(by_run, "run")
    name = "each sampler's own" if energy == "energy" else energy.removeprefix("energy_")
    return Results(runs, by_sweep, name)


def same_sentences(runs: pl.DataFrame) -> bool:
    """Return whether all runs translated the same sentences.

    Runs of a shard (--distributed-world-size) with different seeds do not, because the seed orders sentences of equal
    length.
    """
    folders = [Path(folder) for folder in runs["folder"]]
    outputs = {frozenset(read_output(folder / "output.txt").hypotheses) for folder in folders if has_runs(folder)}
    return len(outputs) <= 1


def has_runs(folder: Path) -> bool:
    """Return whether the folders of the runs exist; published tables come without them."""
    return folder.parent.is_dir()


def plain_number(text: str) -> str:
    """Return a number in its shortest form, so that 1.0 and 1 are the same setting, or another text unchanged."""
    try:
        return f"{float(text):g}"
    except ValueError:
        return text


def _read(path: Path, text: tuple[str, ...], numbers: tuple[str, ...], counts: dict) -> pl.DataFrame:
    """Read a table, and check that it has the given columns.

    Args:
        path: a CSV file.
        text: names of the columns that hold text.
        numbers: names of the columns that hold numbers.
        counts: name -> type of the columns that hold whole numbers.
    """
    try:
        table = pl.read_csv(path.read_bytes(), infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from None
    earlier = {name: old for name, old in EARLIER.items() if name not in table.columns and old in table.columns}
    table = table.with_columns(**{name: pl.col(old) for name, old in earlier.items()})
    if missing := [name for name in (*text, *numbers, *counts) if name not in table.columns]:
        raise UserError(f"{path} lacks {', '.join(missing)}: fairseq-mh experiments did not write it")
    if table.is_empty():
        raise UserError(f"{path} holds no run")
    try:
        known = [name for name in (*numbers, *INTERVALS, *OF_THE_PAPER) if name in table.columns]
        known += [name for name in table.columns if name.startswith(("energy_", "best_energy_")) and name not in known]
        table = table.cast(dict.fromkeys(known, pl.Float64) | counts)
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{path} holds a value that is not a number: {str(error).splitlines()[0]}") from None
    if empty := [name for name in (*text, *counts, *ALWAYS) if name in table.columns and table[name].has_nulls()]:
        raise UserError(f"{path} has a run without {', '.join(empty)}")
    return table


def _name_samplers(runs: pl.DataFrame) -> pl.DataFrame:
    """Add the column `sampler`: the decoder, with those settings that differ among the runs of one experiment."""
    parts = runs.partition_by("decoder", as_dict=True)
    differing = {decoder: settings_that_differ(part) for (decoder,), part in parts.items()}
    names = [
        ", ".join([row["decoder"], *(f"{setting_name(name)} {row[name]}" for name in differing[row["decoder"]])])
        for row in runs.iter_rows(named=True)
    ]
    return runs.with_columns(sampler=pl.Series(names))


def setting_name(name: str) -> str:
    """Return the name of a setting in figures and tables."""
    return SHORT.get(name, name.removeprefix("mh_").replace("_", " "))
