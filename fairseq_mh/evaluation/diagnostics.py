"""Have the chains converged? From `--mh-trace` alone; no model is needed.

Convergence is a property of chains at one temperature: annealed stretches are refused, and so are
short ones. Rank-normalised split R-hat and bulk and tail effective sample size (Vehtari et al., 2021) are
ArviZ's, of the target energy, over the chains of one sentence and length. A chain that never moved has an
R-hat of nothing and an ESS as large as you like: it is counted as frozen, and its group as not converged.
"""

from typing import Any

import numpy as np
import polars as pl
from arviz_stats.base import array_stats

from fairseq_mh.errors import UserError

SHORTEST = 20  # sweeps of a stretch: halves of ten, below which R-hat says nothing
CONVERGED = 1.01  # R-hat, as Vehtari et al. recommend
AXES = {"chain_axis": 0, "draw_axis": 1}
CHAIN = ("id", "length", "chain")


def diagnose(trace: pl.DataFrame, burn_in: int) -> pl.DataFrame:
    """A row for each sentence and length, over the sweeps after burn-in.

    Columns: `chains`, `frozen` (chains that never moved), `r_hat`, `ess_bulk`, `ess_tail` (null where a chain is
    frozen), `autocorrelation` (of the energy at lag 1, mean of the chains that moved), `acceptance_rate`,
    `novel_rate`, `hamming` (share of positions in which a chain's end differs from its start).

    Raises:
        UserError: where the temperature changes after burn-in, or too few sweeps are left.
    """
    stretch = trace.filter(pl.col("sweep") > burn_in)
    temperatures, sweeps = stretch["temperature"].to_numpy(), stretch["sweep"].n_unique()
    if len(set(temperatures)) > 1:
        low, high = temperatures.min(), temperatures.max()
        raise UserError(f"the temperature goes from {high:.3g} to {low:.3g}: an annealed chain does not converge")
    if sweeps < SHORTEST:
        raise UserError(
            f"{sweeps} sweeps after a burn-in of {burn_in} are too few for diagnostics; {SHORTEST} are needed"
        )
    if stretch["energy"].null_count():
        raise UserError("the trace holds energies that are no numbers")
    starts = trace.filter(pl.col("sweep") == 0).select(*CHAIN, start="tokens")
    groups = stretch.join(starts, CHAIN).sort("id", "length", "chain", "sweep").group_by("id", "length")
    return pl.DataFrame([_group(id_, length, part) for (id_, length), part in groups]).sort("id", "length")


def _group(sentence: Any, length: Any, part: pl.DataFrame) -> dict[str, Any]:
    chains = part["chain"].n_unique()
    energy = part["energy"].to_numpy().reshape(chains, -1)
    tokens = np.array(part["tokens"].to_list()).reshape(chains, -1, length)
    start = np.array(part["start"].to_list()).reshape(chains, -1, length)[:, 0]
    moved = (tokens != tokens[:, :1]).any((1, 2))
    row: dict[str, Any] = {"id": sentence, "length": length, "chains": chains, "frozen": int((~moved).sum())}
    known = bool(moved.all())
    row["r_hat"] = float(array_stats.rhat(energy, **AXES)) if known else None
    row["ess_bulk"] = float(array_stats.ess(energy, **AXES, method="bulk")) if known else None
    row["ess_tail"] = float(array_stats.ess(energy, **AXES, method="tail", prob=(0.05, 0.95))) if known else None
    lags = array_stats.autocorr(energy[moved], axis=1)[:, 1] if moved.any() else []
    row["autocorrelation"] = float(np.mean(lags)) if len(lags) else None
    for name, count in (("acceptance_rate", "accepted"), ("novel_rate", "novel")):
        row[name] = float(part[count].to_numpy().sum() / part["proposals"].to_numpy().sum())
    row["hamming"] = float((tokens[:, -1] != start).mean())
    return row


def summary(table: pl.DataFrame) -> dict[str, float]:
    """Over all sentences and lengths: how many converged, and the medians."""
    column = {name: table[name].cast(pl.Float64).to_numpy() for name in table.columns}
    row = {
        "groups": len(table),
        "chains": column["chains"].sum(),
        "frozen": column["frozen"].sum() / column["chains"].sum(),
        "converged": (column["r_hat"] <= CONVERGED).mean(),  # an unknown R-hat is not
    }
    for name in ("r_hat", "ess_bulk", "ess_tail", "autocorrelation", "acceptance_rate", "novel_rate", "hamming"):
        known = column[name][~np.isnan(column[name])]
        row[name] = float(np.median(known)) if len(known) else np.nan
    return {name: float(value) for name, value in row.items()}
