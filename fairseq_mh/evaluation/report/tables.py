"""Makes the report's table of each experiment, with the paper's figures next to the measured ones."""

from typing import Any

import polars as pl

from fairseq_mh.evaluation.report.figures import Line
from fairseq_mh.evaluation.report.results import (
    INTERVALS,
    NUMBERS,
    OF_THE_PAPER,
    plain_number,
    setting_name,
)
from fairseq_mh.evaluation.tables import SETTINGS, over_seeds, settings_of, settings_that_differ

COLUMNS = {  # measure -> heading, format, scale
    "bleu": ("BLEU", "{:.2f}", 1.0),
    "bleu_ci": ("95 %", "±{:.2f}", 1.0),
    "chrf": ("chrF", "{:.2f}", 1.0),
    "chrf_ci": ("95 %", "±{:.2f}", 1.0),
    "novel_rate": ("novel rate", "{:.3f}", 1.0),
    "acceptance_rate": ("accepted", "{:.3f}", 1.0),
    "corpus_energy_norm": ("E_norm, 10³ nats", "{:.2f}", 1e-3),
    "energy": ("energy / token", "{:.3f}", 1.0),
    "rows": ("decoder rows", "{:,.0f}", 1.0),
    "seconds": ("seconds", "{:.1f}", 1.0),
}
PAPER = {  # measure -> the keys of paper.yaml that are shown next to it, with their headings
    "bleu": {"bleu": "paper", "bleu_ro_en": "paper, Ro-En"},
    "novel_rate": {"novel_rate": "paper"},
    "corpus_energy_norm": {"corpus_energy_norm": "paper"},
}


def experiment_table(runs: pl.DataFrame, lines: dict[tuple[str, str], Line], paper: dict[str, Any]) -> dict[str, Any]:
    """Make the table of one experiment.

    Args:
        runs: the experiment's rows of `Results.runs`.
        lines: the look of each sampler.
        paper: the paper's figures of this experiment; empty if it has none.

    Returns:
        `settings` and `columns` (the headings), `compared` (whether the paper has figures), and `rows`, as the
        template shows them.
    """
    rows = [_paper_row(run, paper.get("rows", ())) for run in runs.iter_rows(named=True)]
    known = [key for keys in PAPER.values() for key in keys if any(row.get(key) is not None for row in rows)]
    theirs = {f"paper_{key}": pl.Series([row.get(key) for row in rows], dtype=pl.Float64) for key in known}
    colours = [lines[run["experiment"], run["sampler"]].colour for run in runs.iter_rows(named=True)]
    found = over_seeds(runs.with_columns(**theirs), (*NUMBERS, *OF_THE_PAPER, *INTERVALS, *theirs))
    first = runs.with_columns(colour=pl.Series(colours)).unique("sampler", keep="first", maintain_order=True)
    settings = settings_that_differ(runs)
    columns = {name: look for name, look in COLUMNS.items() if name in found.columns}
    if "corpus_energy_norm" in columns:
        largest = max(runs["corpus_energy_norm"].drop_nulls().to_list(), default=0.0)
        if "corpus_energy_norm" not in known and largest < 1000:  # there are few sentences
            columns["corpus_energy_norm"] = ("E_norm, nats", "{:.1f}", 1.0)
    headings = {name: {key: title for key, title in PAPER.get(name, {}).items() if key in known} for name in columns}
    return {
        "settings": [setting_name(name) for name in settings],
        "columns": [(columns[name][0], list(headings[name].values())) for name in columns],
        "compared": bool(known),
        "rows": [
            {
                "decoder": row["decoder"],
                "colour": colour,
                "settings": [row[name] for name in settings],
                "seeds": row["seeds"],
                "cells": [_cell(row, name, columns[name], list(headings[name])) for name in columns],
            }
            for row, colour in zip(found.iter_rows(named=True), first["colour"], strict=True)
        ],
    }


def settings_table(runs: pl.DataFrame) -> dict[str, Any]:
    """Make the table of all settings of one experiment.

    Args:
        runs: the experiment's rows of `Results.runs`.

    Returns:
        `shared`, the settings with one value in all runs, and that value; `names`, the other settings; and `rows`, each
        a sampler with its values of these.
    """
    samplers = runs.unique("sampler", keep="first", maintain_order=True)
    names = [name for name in settings_of(runs.columns) if (samplers[name] != "-").any()]
    differing = [name for name in names if samplers[name].n_unique() > 1]
    return {
        "shared": [(setting_name(name), samplers[name][0]) for name in names if name not in differing],
        "names": [setting_name(name) for name in differing],
        "rows": list(samplers.select("sampler", *differing).iter_rows()),
    }


def _paper_row(run: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the paper's row for a run: it has the run's decoder, and every setting of the row has the run's value."""
    for row in rows:
        settings = {name: value for name, value in row.items() if name.startswith(SETTINGS)}
        if row["decoder"] == run["decoder"] and all(plain_number(str(v)) == run.get(k) for k, v in settings.items()):
            return row
    return {}


def _cell(row: dict[str, Any], name: str, column: tuple[str, str, float], paper: list[str]) -> dict[str, Any]:
    """Return the texts of a cell: mean, standard deviation and the paper's figures; each is None if there is none."""
    _, text, scale = column
    values = row[name], None if name in INTERVALS else row[f"{name}_sd"]
    mean, sd = (None if value is None else text.format(value * scale) for value in values)
    theirs = [None if row[f"paper_{key}"] is None else f"{row[f'paper_{key}']:.2f}" for key in paper]
    return {"mean": mean, "sd": sd, "paper": theirs}
