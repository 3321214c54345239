"""Collects what the chain viewer shows: the first sentences of one run of every sampler."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.output import read_output
from fairseq_mh.evaluation.report.figures import Line
from fairseq_mh.evaluation.report.results import has_runs
from fairseq_mh.evaluation.scores import CHAIN, read_trace
from fairseq_mh.masked_lms.sentence_pieces import WORD

COUNTS = ("proposals", "accepted", "novel")
COLOUR = "#0072B2"  # of the curve of a trace alone


def viewer_data(
    runs: pl.DataFrame, lines: dict[tuple[str, str], Line], pieces: list[str], sentences: int
) -> dict[str, Any]:
    """Collect the data of the page's script.

    Args:
        runs: of `read_results`.
        lines: the look of each experiment's samplers.
        pieces: the target dictionary's symbols by index.
        sentences: how many sentences to show, the first ones.

    Returns:
        `vocabulary`, a list of [text, whether it begins a word], and `runs`, whose tokens are indices of that list.

    Raises:
        UserError: where the pieces are not those of the runs, or a run's files cannot be read.
    """
    seen: dict[int, int] = {}
    with_files = runs.filter(pl.col("folder").map_elements(lambda folder: has_runs(Path(folder)), pl.Boolean))
    first = with_files.unique(["experiment", "sampler"], keep="first", maintain_order=True)
    shown = []
    for run in first.iter_rows(named=True):
        colour = lines[run["experiment"], run["sampler"]].colour
        names = {name: run[name] for name in ("experiment", "sampler", "seed")}
        energy = run.get("mh_energy", "target")
        folder = Path(run["folder"])
        output, trace = read_output(folder / "output.txt"), read_trace(folder / "trace.jsonl")
        texts = {"source": output.sources, "reference": output.references, "output": output.hypotheses}
        chains = _sentences(trace, texts, sentences, seen)
        shown.append({**names, "colour": colour, "energy": energy, "sentences": chains})
    return {"vocabulary": _vocabulary(seen, pieces), "runs": shown}


def trace_data(trace: pl.DataFrame, name: str, pieces: list[str], sentences: int) -> dict[str, Any]:
    """Collect the data of the page's script from a trace alone.

    Its sentences have no source; the output is the state of lowest energy, at the end of a sweep.

    Args:
        trace: of `read_trace`.
        name: what the trace is called.
        pieces: the target dictionary's symbols by index.
        sentences: how many sentences to show, the first ones.

    Returns:
        the same as `viewer_data`.

    Raises:
        UserError: where the pieces are not those of the trace.
    """
    seen: dict[int, int] = {}
    lowest = trace.sort("energy", nulls_last=True).unique("id", keep="first", maintain_order=True)
    _vocabulary(dict.fromkeys(lowest["tokens"].explode(), 0), pieces)
    output = {number: _text(tokens, pieces) for number, tokens in lowest.select("id", "tokens").iter_rows()}
    found = _sentences(trace, {"source": {}, "reference": {}, "output": output}, sentences, seen)
    run = {"experiment": "trace", "sampler": name, "seed": None, "colour": COLOUR, "energy": "target"}
    return {"vocabulary": _vocabulary(seen, pieces), "runs": [{**run, "sentences": found}]}


def _text(tokens: list[int], pieces: list[str]) -> str:
    """Return the words of tokens whose pieces are sentencepiece's, or words."""
    marked = any(piece.startswith(WORD) for piece in pieces)
    return ("" if marked else " ").join(pieces[token] for token in tokens).replace(WORD, " ").strip()


def _vocabulary(seen: dict[int, int], pieces: list[str]) -> list[tuple[str, bool]]:
    """Return the texts of the tokens seen, and whether a word begins with them.

    Raises:
        UserError: where a token has no text.
    """
    if seen and max(seen) >= len(pieces):
        raise UserError(f"token {max(seen)} is not in the dictionary: --data is not the data of these results")
    marked = any(piece.startswith(WORD) for piece in pieces)
    return [(pieces[n].removeprefix(WORD) or WORD, not marked or pieces[n].startswith(WORD)) for n in seen]


def _sentences(
    trace: pl.DataFrame, texts: dict[str, dict[int, str]], sentences: int, seen: dict[int, int]
) -> list[dict[str, Any]]:
    """Return the first sentences with their chains; tokens that are new to the vocabulary are added to `seen`."""
    numbers = trace["id"].unique().sort().head(sentences)
    found: dict[int, dict[str, Any]] = {}
    for number in numbers:
        found[number] = {"id": number, **{name: text.get(number, "") for name, text in texts.items()}, "chains": []}
    groups = (
        trace.filter(pl.col("id").is_in(numbers.implode())).sort(*CHAIN, "sweep").group_by(CHAIN, maintain_order=True)
    )
    for (number, _, _), part in groups:
        found[number]["chains"].append(_chain(part, seen))
    return list(found.values())


def _chain(part: pl.DataFrame, seen: dict[int, int]) -> dict[str, Any]:
    """Return one chain as its start and the changes of every sweep, which are much shorter than the states."""
    states = [[seen.setdefault(token, len(seen)) for token in tokens] for tokens in part["tokens"].to_list()]
    return {
        "length": part["length"][0],
        "chain": part["chain"][0],
        "start": states[0],
        "changes": [[], *(_changes(before, after) for before, after in pairwise(states))],
        "temperature": part["temperature"].to_list(),
        "energy": [None if value is None else round(value, 4) for value in part["energy"]],
        **{name: part[name].to_list() for name in COUNTS},
    }


def _changes(before: list[int], after: list[int]) -> list[int]:
    """Return what differs between two states, as [position, token, position, token, ...]."""
    pairs = enumerate(zip(before, after, strict=True))
    return [n for position, (old, new) in pairs if old != new for n in (position, new)]
