"""Measures a run: scores of its translations by sacrebleu, and energies, rates and cost from its trace."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.chrf import CHRFScore

from fairseq_mh.errors import UserError, reason

RESAMPLES = 1000  # number of resamples that the bootstrap draws
COUNTS = ("proposals", "accepted", "novel", "rows")
EXPERT_ROWS = "expert_rows"  # a trace of texts has none
CHAIN = ("id", "length", "chain")
KINDS: dict[str, Any] = dict.fromkeys((*CHAIN, *COUNTS, "sweep"), pl.Int64)
KINDS |= {"tokens": pl.List(pl.Int64), "energy": pl.Float64, "temperature": pl.Float64}
TERM = "energy_"  # begins the name of the energy of a term


class _CHRF(CHRF):
    """chrF whose scores are floats.

    sacrebleu's score of a resample is a NumPy number, or a float if the resample has nothing in common with its
    references. Its bootstrap cannot average a mixture of the two.
    """

    def _compute_score_from_stats(self, stats: list[int]) -> CHRFScore:
        score = super()._compute_score_from_stats(stats)
        score.score = float(score.score)
        return score


def corpus_scores(hypotheses: list[str], references: list[str]) -> dict[str, float | str]:
    """Return BLEU and chrF of a corpus, and sacrebleu's signatures of both.

    `bleu_ci` and `chrf_ci` are half the width of the 95 % interval that sacrebleu's bootstrap over sentences gives.
    """
    row: dict[str, float | str] = {}
    for name, metric in (("bleu", BLEU()), ("chrf", _CHRF())):
        score = metric.corpus_score(hypotheses, [references], n_bootstrap=RESAMPLES)
        row |= {name: score.score, f"{name}_ci": float(score._ci)}
        # The signature describes the score, which does not depend on the bootstrap.
        metric.n_bootstrap = metric.seed = None
        row[f"{name}_signature"] = str(metric.get_signature())
    return row


def read_trace(path: Path) -> pl.DataFrame:
    """Read the records of a trace (`--mh-trace`).

    Raises:
        UserError: if the file cannot be read, or is not a trace.
    """
    try:
        trace = pl.read_ndjson(
            path.read_bytes(), infer_schema_length=None
        )  # given a path, polars would expand `*` in it
        if missing := KINDS.keys() - set(trace.columns):
            raise UserError(f"{path} is not a trace: it lacks {', '.join(sorted(missing))}")
        terms = [name for name in trace.columns if name.startswith(TERM)]
        kinds: dict[Any, Any] = KINDS | dict.fromkeys(terms, pl.Float64)
        kinds |= {EXPERT_ROWS: pl.Int64} if EXPERT_ROWS in trace.columns else {}
        trace = trace.cast(kinds)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path} cannot be read as a trace: {reason(error)}") from None
    complete = trace.drop_nulls([name for name in KINDS if name != "energy"])
    if len(complete) < len(trace) or complete.filter(pl.col("tokens").list.len() != pl.col("length")).height:
        raise UserError(f"{path} is not a trace: a record is incomplete")
    return trace


def trace_scores(trace: pl.DataFrame) -> dict[str, Any]:
    """Return the energies (nats), rates and cost of a run.

    Args:
        trace: the records, as `read_trace` returns them.

    Returns:
        for the target's `energy` and each term `energy_NAME` of the trace: the mean energy per token of the chains'
        last states; `best_` and its name: the mean energy per token of each sentence's best state; `corpus_` and its
        name: the sum over sentences of the mean energy of their chains, as in the paper's tables. Further
        `acceptance_rate` and `novel_rate`, shares of the proposals, and the totals of the trace's counts. A value is
        None if it is unknown.
    """
    last = trace.filter(pl.col("sweep") == pl.col("sweep").max().over(CHAIN))
    row = {}
    for name in energies_of(trace):
        energy = pl.col(name)
        row[name] = last.select((energy / pl.col("length")).mean()).item()
        corpus = last.group_by("id").agg(energy.mean())[name]
        row[f"corpus_{name}"] = None if corpus.is_null().all() else corpus.sum()
        best = trace.with_columns(per_token=energy / pl.col("length")).group_by("id")
        row[f"best_{name}"] = best.agg(pl.col("per_token").min())["per_token"].mean()
    counts = [name for name in (*COUNTS, EXPERT_ROWS) if name in trace.columns]
    return {**row, **rates(trace), **trace.select(counts).sum().row(0, named=True)}


def rates(part: pl.DataFrame) -> dict[str, float | None]:
    """Return `acceptance_rate` and `novel_rate` of records, shares of their proposals; None if they have none."""
    total = part.select("proposals", "accepted", "novel").sum().row(0, named=True)
    counts = {"acceptance_rate": total["accepted"], "novel_rate": total["novel"]}
    return {name: count / total["proposals"] if total["proposals"] else None for name, count in counts.items()}


def energies_of(trace: pl.DataFrame) -> list[str]:
    """Return the columns of a trace that hold energies, the target's first."""
    return ["energy", *(name for name in trace.columns if name.startswith(TERM))]


def curve(trace: pl.DataFrame, **measures: Callable[[pl.DataFrame], float]) -> pl.DataFrame:
    """Return a run's curve, a row for each sweep.

    Args:
        trace: the records, as `read_trace` returns them.
        measures: columns to add, by name; each is a function of all chains' records of one sweep.

    Returns:
        The columns `sweep`, `temperature`, energies per token in nats, rates, `rows` (decoder rows so far), and the
        measures.
    """
    rows = []
    for (sweep,), part in trace.sort("sweep").group_by("sweep", maintain_order=True):
        rows.append(
            {
                "sweep": sweep,
                "temperature": part["temperature"][0],
                **{name: (part[name] / part["length"]).mean() for name in energies_of(trace)},
                **rates(part),
                "rows": part["rows"].sum(),
                **{name: measure(part) for name, measure in measures.items()},
            }
        )
    return pl.DataFrame(rows).with_columns(pl.col("rows").cum_sum())


def states_bleu(text: Callable[[list[int]], str], references: dict[int, str]) -> Callable[[pl.DataFrame], float]:
    """Return a measure for `curve`: the BLEU of the chains' states.

    Args:
        text: a function from a state's tokens to its text.
        references: sentence number -> reference.
    """

    def bleu(part: pl.DataFrame) -> float:
        states = [text(tokens) for tokens in part["tokens"].to_list()]
        return BLEU().corpus_score(states, [[references[n] for n in part["id"].to_list()]]).score

    return bleu
