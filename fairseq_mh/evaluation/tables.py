"""Makes tables of results, with means and standard deviations over seeds."""

from collections.abc import Iterable, Sequence

import polars as pl
from tabulate import tabulate

MEASURED = (
    *("bleu", "chrf"),
    *("perplexity", "nats", "self_bleu", "distinct_2"),
    *("energy", "best_energy", "acceptance_rate", "novel_rate", "rows", "seconds"),
)
UNREAD: dict[str, tuple[str, ...]] = {  # the settings that a decoder does not read, by --mh-decoding
    "gibbs": ("mh_temperature", "mh_final_temperature"),
    "mask-predict": (
        *("mh_sweeps", "mh_burn_in", "mh_init", "mh_temperature", "mh_final_temperature", "mh_proposal_temperature"),
        *("mh_block_size", "mh_final_block_size", "mh_nucleus", "mh_scan"),
        *("mh_proposal", "mh_thin", "mh_top_k", "mh_proposal_mix"),  # of earlier versions
    ),
}
SETTINGS = ("mh_", "iter_")  # begin the names of columns of settings
FORMATS = dict.fromkeys(("bleu", "chrf", "perplexity", "nats", "self_bleu"), "{:.2f}")
FORMATS |= {"rows": "{:,.0f}", "seconds": "{:.1f}"}


def over_seeds(results: pl.DataFrame, names: Sequence[str] = MEASURED) -> pl.DataFrame:
    """Average the results over their seeds.

    Args:
        results: a row for each run, as `collect` returns them.
        names: the figures to average.

    Returns:
        A row for each decoder and setting, with the columns `decoder`, the settings that differ, `NAME` and `NAME_sd`
        for each figure that the results have, and `seeds`, the number of seeds.
    """
    differing, measured = settings_that_differ(results), measured_of(results, names)
    seeds = pl.col("seed").n_unique().alias("seeds")
    return results.group_by("decoder", *differing, maintain_order=True).agg(*mean_and_sd(measured), seeds)


def without_unread(results: pl.DataFrame) -> pl.DataFrame:
    """Put "-" for each setting that a run's decoder does not read, such as the sweeps of mask-predict."""
    for decoding, names in UNREAD.items() if "mh_decoding" in results.columns else ():
        other = pl.col("mh_decoding").ne_missing(decoding)
        own = [
            pl.when(other).then(name).otherwise(pl.lit("-")).alias(name) for name in names if name in results.columns
        ]
        results = results.with_columns(own)
    return results


def common_energy(results: pl.DataFrame) -> str:
    """Return the column of the energy by which all runs can be compared.

    Samplers may have different energies. If all runs have the same term, that is `norm`, `two-stream` or another one;
    otherwise it is `energy`, each sampler's own.
    """
    terms = [name for name in results.columns if name.startswith("energy_") and not results[name].has_nulls()]
    known = [name for name in ("energy_norm", "energy_two-stream", *terms) if name in terms]
    return known[0] if known else "energy"


def measured_of(results: pl.DataFrame, names: Sequence[str] = MEASURED) -> list[str]:
    """Return the names of the figures that the results have."""
    return [name for name in names if name in results.columns]


def settings_of(names: Iterable[str]) -> list[str]:
    """Return those names of columns that are settings of the decoders."""
    return [name for name in names if name.startswith(SETTINGS) or name == "path"]


def settings_that_differ(results: pl.DataFrame) -> list[str]:
    """Return the settings that have more than one value for at least one decoder."""
    settings = settings_of(results.columns)
    values = results.group_by("decoder").agg(pl.col(settings).n_unique())
    return [name for name in settings if (values[name] > 1).any()]


def mean_and_sd(names: Sequence[str]) -> list[pl.Expr]:
    """Return expressions for the columns `NAME` and `NAME_sd`; the latter is null if there is only one value."""
    return [pl.col(name).mean() for name in names] + [pl.col(name).std().alias(f"{name}_sd") for name in names]


def results_table(results: pl.DataFrame) -> str:
    """Return the results as text: means over seeds, with standard deviations if there are several seeds."""
    energy = common_energy(results)
    names = [name.replace("energy", energy) for name in MEASURED]
    table = over_seeds(results, names)
    settings, measured = settings_that_differ(results), measured_of(results, names)
    lines = [
        [row["decoder"], *(row[name] for name in settings), row["seeds"], *(_figure(row, name) for name in measured)]
        for row in table.iter_rows(named=True)
    ]
    headers = ["decoder", *(name.removeprefix("mh_") for name in settings), "seeds", *measured]
    signatures = [results[name][0] for name in results.columns if name.endswith("_signature")]
    return "\n".join([tabulate(lines, headers, disable_numparse=True), *signatures])


def _figure(row: dict, name: str) -> str:
    """Return a figure with its standard deviation, or "-" if the row does not have it."""
    if row[name] is None:
        return "-"
    text = FORMATS.get(name, "{:.3f}")
    spread = f" ±{text.format(row[f'{name}_sd'])}" if row[f"{name}_sd"] is not None else ""
    return text.format(row[name]) + spread
