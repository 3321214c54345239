"""Measures a run: sacrebleu's scores of its translations; energies, rates and cost from its trace."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.chrf import CHRFScore

from fairseq_mh.errors import UserError, one_line

RESAMPLES = 1000  # of the bootstrap
COUNTS = ("proposals", "accepted", "novel", "rows")
CHAIN = ("id", "length", "chain")
KINDS: dict[str, Any] = dict.fromkeys((*CHAIN, *COUNTS, "sweep"), pl.Int64)
KINDS |= {"tokens": pl.List(pl.Int64), "energy": pl.Float64}
ENERGY_KINDS = {"temperature": pl.Float64, "energy_norm": pl.Float64, "energy_raw": pl.Float64}  # may be missing


class _CHRF(CHRF):
    """chrF whose scores are floats.

    sacrebleu's bootstrap cannot average NumPy's numbers, which it has where a resample shares anything with its
    references, and floats, which it has where it shares nothing.
    """

    def _compute_score_from_stats(self, stats: list[int]) -> CHRFScore:
        score = super()._compute_score_from_stats(stats)
        score.score = float(score.score)
        return score


def corpus_scores(hypotheses: list[str], references: list[str]) -> dict[str, float | str]:
    """Return BLEU and chrF of a corpus, and sacrebleu's signatures of both.

    `bleu_ci` and `chrf_ci` are half the width of a 95 % interval over sentences, by sacrebleu's bootstrap.
    """
    row: dict[str, float | str] = {}
    for name, metric in (("bleu", BLEU()), ("chrf", _CHRF())):
        score = metric.corpus_score(hypotheses, [references], n_bootstrap=RESAMPLES)
        row |= {name: score.score, f"{name}_ci": float(score._ci)}
        metric.n_bootstrap = metric.seed = None  # the score, which the signature is of, does not depend on them
        row[f"{name}_signature"] = str(metric.get_signature())
    return row


def read_trace(path: Path) -> pl.DataFrame:
    """Read the records of a trace (`--mh-trace`).

    Raises:
        UserError: where the file cannot be read, or is no trace.
    """
    try:
        trace = pl.read_ndjson(path.read_bytes())  # given a path, polars would expand `*` in it
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
    """Return energies (nats), rates and cost of a run.

    Args:
        trace: as `read_trace` returns it.

    Returns:
        `energy_norm` and `energy_raw`: the mean energy per token of the chains' last states; `best_energy_norm`: the
        mean energy per token of each sentence's best state; `corpus_energy_norm` and `corpus_energy_raw`: the sum over
        sentences of the mean energy of their chains, as in the paper's tables; `acceptance_rate` and `novel_rate`:
        shares of the proposals; and the totals of the trace's counts. A value is None where the trace does not tell it.
    """
    last = trace.filter(pl.col("sweep") == pl.col("sweep").max().over(CHAIN))
    row = {}
    for name in ("norm", "raw"):
        energy = pl.col(f"energy_{name}")
        row[f"energy_{name}"] = last.select((energy / pl.col("length")).mean()).item()
        corpus = last.group_by("id").agg(energy.mean())[f"energy_{name}"]
        # The trace has no value where the chains had another energy, whose scores do not say this one.
        row[f"corpus_energy_{name}"] = None if corpus.is_null().all() else corpus.sum()
    best = trace.with_columns(per_token=pl.col("energy_norm") / pl.col("length")).group_by("id")
    row["best_energy_norm"] = best.agg(pl.col("per_token").min())["per_token"].mean()
    total = trace.select(COUNTS).sum().row(0, named=True)
    for name, count in (("acceptance_rate", "accepted"), ("novel_rate", "novel")):
        row[name] = total[count] / total["proposals"] if total["proposals"] else None
    return {**row, **{name: total[name] for name in COUNTS}}


def curve(trace: pl.DataFrame, **measures: Callable[[pl.DataFrame], float]) -> pl.DataFrame:
    """Return a run's curve, a row for each sweep.

    Args:
        trace: as `read_trace` returns it.
        measures: columns to add, by name: each is a function of the records of one sweep of all chains.

    Returns:
        `sweep`, `temperature`, energies per token in nats, rates, `rows` (decoder rows so far), and the measures.
    """
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
    """Return a measure for `curve`: BLEU of the states.

    Args:
        text: turns a state's tokens into text.
        references: sentence number -> reference.
    """

    def bleu(part: pl.DataFrame) -> float:
        states = [text(tokens) for tokens in part["tokens"].to_list()]
        return BLEU().corpus_score(states, [[references[n] for n in part["id"].to_list()]]).score

    return bleu
