"""Numbers of a run: sacrebleu's scores of its translations; energies, rates and cost from its trace."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from sacrebleu.metrics import BLEU, CHRF

from fairseq_mh.errors import UserError, one_line

COUNTS = ("proposals", "accepted", "novel", "rows")
CHAIN = ("id", "length", "chain")
KINDS: dict[str, Any] = dict.fromkeys((*CHAIN, *COUNTS, "sweep"), pl.Int64)
KINDS |= {"tokens": pl.List(pl.Int64), "energy": pl.Float64}
ENERGY_KINDS = {"temperature": pl.Float64, "energy_norm": pl.Float64, "energy_raw": pl.Float64}  # in most traces


def corpus_scores(hypotheses: list[str], references: list[str]) -> dict[str, float | str]:
    """BLEU and chrF of a corpus, with sacrebleu's signatures."""
    row: dict[str, float | str] = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        row[name] = metric.corpus_score(hypotheses, [references]).score
        row[f"{name}_signature"] = str(metric.get_signature())
    return row


def read_trace(path: Path) -> pl.DataFrame:
    """The records of `--mh-trace`.

    Raises:
        UserError: where the file cannot be read, or is no trace.
    """
    try:
        trace = pl.read_ndjson(path.read_bytes())  # of a path, polars would expand a pattern
        if missing := KINDS.keys() - set(trace.columns):
            raise UserError(f"{path} is no trace: it lacks {', '.join(sorted(missing))}")
        trace = trace.cast({name: kind for name, kind in (KINDS | ENERGY_KINDS).items() if name in trace.columns})
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path} cannot be read as a trace: {one_line(error)}") from None
    known = trace.drop_nulls([name for name in KINDS if name != "energy"])
    if len(known) < len(trace) or known.filter(pl.col("tokens").list.len() != pl.col("length")).height:
        raise UserError(f"{path} is no trace: a record is not whole")
    return trace


def trace_scores(trace: pl.DataFrame) -> dict[str, Any]:
    """Energies (nats), rates and cost of a run.

    `energy_*` is the mean energy per token of the chains' last states, `best_energy_norm` that of each
    sentence's best state, `corpus_energy_*` the sum over sentences of the chains' mean, as in the paper's tables.
    """
    last = trace.filter(pl.col("sweep") == pl.col("sweep").max().over(CHAIN))
    row = {}
    for name in ("norm", "raw"):
        energy = pl.col(f"energy_{name}")
        row[f"energy_{name}"] = last.select((energy / pl.col("length")).mean()).item()
        corpus = last.group_by("id").agg(energy.mean())[f"energy_{name}"]
        row[f"corpus_energy_{name}"] = None if corpus.is_null().all() else corpus.sum()  # unknown with another energy
    best = trace.with_columns(per_token=pl.col("energy_norm") / pl.col("length")).group_by("id")
    row["best_energy_norm"] = best.agg(pl.col("per_token").min())["per_token"].mean()
    total = trace.select(COUNTS).sum().row(0, named=True)
    for name, count in (("acceptance_rate", "accepted"), ("novel_rate", "novel")):
        row[name] = total[count] / total["proposals"] if total["proposals"] else None
    return {**row, **{name: total[name] for name in COUNTS}}


def curve(trace: pl.DataFrame, **measures: Callable[[pl.DataFrame], float]) -> pl.DataFrame:
    """By sweep: energies per token, rates, rows so far, and these measures of all chains' states."""
    rows = []
    for (sweep,), part in trace.sort("sweep").group_by("sweep", maintain_order=True):
        total = part.select(COUNTS).sum().row(0, named=True)
        rows.append(
            {
                "sweep": sweep,
                "temperature": part["temperature"][0],
                "energy_norm": (part["energy_norm"] / part["length"]).mean(),
                "energy_raw": (part["energy_raw"] / part["length"]).mean(),
                "acceptance_rate": total["accepted"] / total["proposals"] if total["proposals"] else None,
                "novel_rate": total["novel"] / total["proposals"] if total["proposals"] else None,
                "rows": total["rows"],
                **{name: measure(part) for name, measure in measures.items()},
            }
        )
    return pl.DataFrame(rows).with_columns(pl.col("rows").cum_sum())


def states_bleu(text: Callable[[list[int]], str], references: dict[int, str]) -> Callable[[pl.DataFrame], float]:
    """BLEU of the states in a part of a trace."""

    def bleu(part: pl.DataFrame) -> float:
        states = [text(tokens) for tokens in part["tokens"].to_list()]
        return BLEU().corpus_score(states, [[references[n] for n in part["id"].to_list()]]).score

    return bleu
