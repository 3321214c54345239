"""Tells from a trace (`--mh-trace`), without a model, whether its chains have converged.

Only chains at one temperature can converge, so annealed chains are refused, and so are short ones. The chains of one
sentence and length are compared by the energy of the target. R-hat and ESS mean nothing for a chain that never moved:
such a chain is counted as frozen, and its group as not converged.
"""

from collections import Counter
from typing import Any

import numpy as np
import polars as pl

from fairseq_mh.convergence import CONVERGED, SHORTEST, Convergence, Draws, convergence
from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.scores import CHAIN, rates


def first_ids(trace: pl.DataFrame, limit: int) -> pl.DataFrame:
    """Return the records of the sentences with the `limit` lowest numbers."""
    return trace.filter(pl.col("id").is_in(trace["id"].unique().sort().head(limit).implode()))


def diagnose(trace: pl.DataFrame, burn_in: int) -> pl.DataFrame:
    """Diagnose the chains of each sentence and length.

    Args:
        trace: the records, as `read_trace` returns them.
        burn_in: number of first sweeps to discard from each chain.

    Returns:
        A row for each sentence and length, with the fields of `Convergence` (null for None), and the columns
        `acceptance_rate`, `novel_rate` and `hamming` (the share of positions in which a chain's last state differs from
        its first).

    Raises:
        UserError: if the trace is incomplete, the temperature changes after burn-in, or too few sweeps are left.
    """
    check_whole(trace)
    stretch = trace.filter(pl.col("sweep") > burn_in)
    temperatures, sweeps = stretch["temperature"].to_numpy(), stretch["sweep"].n_unique()
    if len(set(temperatures)) > 1:
        low, high = temperatures.min(), temperatures.max()
        raise UserError(f"the temperature changes from {high:.3g} to {low:.3g}: an annealed chain does not converge")
    if sweeps < SHORTEST:
        raise UserError(
            f"{sweeps} sweeps after a burn-in of {burn_in} are too few for diagnostics: give at least {SHORTEST}"
        )
    if stretch["energy"].null_count():
        raise UserError("the trace has records without an energy")
    starts = trace.filter(pl.col("sweep") == 0).select(*CHAIN, start="tokens")
    groups = stretch.join(starts, CHAIN).sort("id", "length", "chain", "sweep").group_by("id", "length")
    return pl.DataFrame([_group(id_, length, part) for (id_, length), part in groups]).sort("id", "length")


def check_whole(trace: pl.DataFrame) -> None:
    """Check that every chain has each sweep once, from the start (sweep 0) to the last one.

    Raises:
        UserError: if a chain lacks a sweep or has one twice.
    """
    last = int(trace["sweep"].to_numpy().max())
    chains = trace.group_by(CHAIN).agg(pl.len().alias("records"), pl.col("sweep").n_unique().alias("sweeps"))
    incomplete = chains.filter((pl.col("records") != last + 1) | (pl.col("sweeps") != last + 1)).sort(CHAIN)
    if len(incomplete):
        row = incomplete.row(0, named=True)
        raise UserError(
            f"the trace is cut off or was written twice: chain {row['chain']} of sentence {row['id']} at length "
            f"{row['length']} has {row['records']} records, not one for each of the sweeps 0 to {last}"
        )


def _group(sentence: Any, length: Any, part: pl.DataFrame) -> dict[str, Any]:
    """Return the row of `diagnose` for the chains of one sentence and length."""
    chains = part["chain"].n_unique()
    energy = part["energy"].to_numpy().reshape(chains, -1)
    tokens = np.array(part["tokens"].to_list()).reshape(chains, -1, length)
    start = np.array(part["start"].to_list()).reshape(chains, -1, length)[:, 0]
    found = convergence(Draws(tokens, energy))._asdict()
    changed = float((tokens[:, -1] != start).mean())
    return {"id": sentence, "length": length, **found, **rates(part), "hamming": changed}


def diagnosis_summary(table: pl.DataFrame) -> dict[str, float]:
    """Summarise the table of `diagnose`.

    Returns:
        The numbers of groups (sentence and length) and of chains, the shares of frozen chains and of converged groups,
        and the medians over the groups of every other column (NaN if no group has a value).
    """
    column = {name: table[name].cast(pl.Float64).to_numpy() for name in table.columns}
    row = {
        "groups": len(table),
        "chains": column["chains"].sum(),
        "frozen": column["frozen"].sum() / column["chains"].sum(),
        # A group with a frozen chain has no R-hat and counts as not converged. R-hat needs a group of two chains.
        "converged": (column["r_hat"] <= CONVERGED).mean() if (column["chains"] > 1).any() else np.nan,
    }
    for name in ("r_hat", "ess_bulk", "ess_tail", "autocorrelation", "acceptance_rate", "novel_rate", "hamming"):
        known = column[name][~np.isnan(column[name])]
        row[name] = float(np.median(known)) if len(known) else np.nan
    return {name: float(value) for name, value in row.items()}


def advice_on(table: pl.DataFrame) -> list[str]:
    """Return what to do for the groups of the table of `diagnose` that have not converged; each text once."""
    groups = table.select(Convergence._fields).rows()
    texts = Counter(Convergence(*group).advice for group in groups)
    return [f"{count} of {len(groups)} groups: {text}" for text, count in texts.most_common() if text]
