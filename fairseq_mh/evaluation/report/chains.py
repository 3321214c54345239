"""Collects the data of the chain viewer: the first sentences of one run of each sampler, or of a trace."""

from pathlib import Path
from typing import Any

import polars as pl

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.report.results import has_runs
from fairseq_mh.evaluation.scores import CHAIN, read_trace
from fairseq_mh.files.output import read_output
from fairseq_mh.masked_lms.dictionaries import GOES_ON, WORD

SHOWN = ("sweep", "temperature", "tokens", "energy", "proposals", "accepted", "novel")  # keys of a record of the trace


def viewer_data(runs: pl.DataFrame, pieces: list[str], sentences: int) -> dict[str, Any]:
    """Collect the data of the page's script from the results of experiments.

    Args:
        runs: the runs that `read_results` returned, with the titles of their experiments.
        pieces: the target dictionary's symbols by index.
        sentences: number of first sentences to show.

    Returns:
        `vocabulary`, which maps a token to its text, whether it begins a word unless the token before it goes on, and
        whether it goes on itself; and `runs`, each with `experiment`, `title` and `sentences`.

    Raises:
        UserError: if the pieces are not those of the runs, or a run's files cannot be read.
    """
    with_files = runs.filter(pl.col("folder").map_elements(lambda folder: has_runs(Path(folder)), pl.Boolean))
    first = with_files.unique(["experiment", "sampler"], keep="first", maintain_order=True)
    shown = []
    for run in first.iter_rows(named=True):
        folder = Path(run["folder"])
        output, trace = read_output(folder / "output.txt"), read_trace(folder / "trace.jsonl")
        texts = {"source": output.sources, "reference": output.references, "output": output.hypotheses}
        title = f"{run['sampler']} (seed {run['seed']})"
        chains = _sentences(trace, texts, sentences)
        shown.append({"experiment": run["title"], "title": title, "sentences": chains})
    return {"vocabulary": _vocabulary(shown, pieces), "runs": shown}


def trace_data(trace: pl.DataFrame, name: str, pieces: list[str], sentences: int) -> dict[str, Any]:
    """Collect the data of the page's script from a single trace.

    The sentences have no source. The output is the state of lowest energy among the states at the end of a sweep.

    Args:
        trace: the records, as `read_trace` returns them.
        name: the title of the trace.
        pieces: the target dictionary's symbols by index.
        sentences: number of first sentences to show.

    Returns:
        The same as `viewer_data`.

    Raises:
        UserError: if the pieces are not those of the trace.
    """
    found = _sentences(trace, {"source": {}, "reference": {}}, sentences)
    shown = [{"experiment": "trace", "title": name, "sentences": found}]
    vocabulary = _vocabulary(shown, pieces)
    lowest = trace.sort("energy", nulls_last=True).unique("id", keep="first", maintain_order=True)
    outputs = dict(lowest.select("id", "tokens").iter_rows())
    for sentence in found:
        symbols = (vocabulary[token] for token in outputs[sentence["id"]])
        words = (f"{' ' * begins}{text}{GOES_ON * goes_on}" for text, begins, goes_on in symbols)
        sentence["output"] = f"{''.join(words)} ".replace(f"{GOES_ON} ", "").replace(WORD, "").strip()
    return {"vocabulary": vocabulary, "runs": shown}


def _vocabulary(shown: list[dict[str, Any]], pieces: list[str]) -> dict[int, tuple[str, bool, bool]]:
    """Return the text of each token that is shown, whether it begins a word, and whether the next one continues it."""
    chains = [chain for run in shown for sentence in run["sentences"] for chain in sentence["chains"]]
    tokens = {token for chain in chains for record in chain["records"] for token in record["tokens"]}
    if tokens and max(tokens) >= len(pieces):
        raise UserError(f"token {max(tokens)} is not in the dictionary: --data is not the data of these results")
    if any(piece.startswith(WORD) for piece in pieces):
        return {n: (pieces[n].removeprefix(WORD) or WORD, pieces[n].startswith(WORD), False) for n in tokens}
    return {n: (pieces[n].removesuffix(GOES_ON), True, pieces[n].endswith(GOES_ON)) for n in tokens}


def _sentences(trace: pl.DataFrame, texts: dict[str, dict[int, str]], sentences: int) -> list[dict[str, Any]]:
    """Return the first sentences with their texts and chains."""
    numbers = trace["id"].unique().sort().head(sentences)
    found: dict[int, dict[str, Any]] = {
        number: {"id": number, **{name: text.get(number, "") for name, text in texts.items()}, "chains": []}
        for number in numbers
    }
    records_shown = trace.filter(pl.col("id").is_in(numbers.implode())).sort(*CHAIN, "sweep")
    for (number, length, chain), part in records_shown.group_by(CHAIN, maintain_order=True):
        records = part.select(SHOWN).with_columns(pl.col("energy").round(4)).to_dicts()
        found[number]["chains"].append({"length": length, "chain": chain, "records": records})
    return list(found.values())
