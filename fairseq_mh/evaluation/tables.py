"""Results over seeds, as text."""

import polars as pl
from tabulate import tabulate

MEASURED = (
    "bleu",
    "chrf",
    "energy_norm",
    "best_energy_norm",
    "acceptance_rate",
    "novel_rate",
    "rows",
    "seconds",
)
FORMATS = {"bleu": "{:.2f}", "chrf": "{:.2f}", "rows": "{:,.0f}", "seconds": "{:.1f}"}


def over_seeds(results: pl.DataFrame) -> pl.DataFrame:
    """A row a setting: `NAME` and `NAME_sd` for what was measured, `seeds`, and what differs within a decoder."""
    settings = [name for name in results.columns if name.startswith(("mh_", "iter_"))]
    values = results.group_by("decoder").agg(pl.col(settings).n_unique())
    differing = [name for name in settings if (values[name] > 1).any()]
    measured = [pl.col(name).mean() for name in MEASURED]
    spread = [pl.col(name).std().alias(f"{name}_sd") for name in MEASURED]
    seeds = pl.col("seed").n_unique().alias("seeds")
    return results.group_by("decoder", *differing, maintain_order=True).agg(*measured, *spread, seeds)


def summary(results: pl.DataFrame) -> str:
    """The table of `over_seeds`, each figure with its standard deviation over seeds where there are several."""
    table = over_seeds(results)
    settings = [name for name in table.columns if name.startswith(("mh_", "iter_"))]
    lines = [
        [row["decoder"], *(row[name] for name in settings), row["seeds"], *(_figure(row, name) for name in MEASURED)]
        for row in table.iter_rows(named=True)
    ]
    headers = ["decoder", *(name.removeprefix("mh_") for name in settings), "seeds", *MEASURED]
    signatures = [results[f"{name}_signature"][0] for name in ("bleu", "chrf")]
    return "\n".join([tabulate(lines, headers, disable_numparse=True), *signatures])


def _figure(row: dict, name: str) -> str:
    if row[name] is None:
        return "-"
    text = FORMATS.get(name, "{:.3f}")
    spread = f" ±{text.format(row[f'{name}_sd'])}" if row[f"{name}_sd"] is not None else ""
    return text.format(row[name]) + spread
