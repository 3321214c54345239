"""Collects what the chain viewer shows: the first sentences of one run of every sampler."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.output import read_output
from fairseq_mh.evaluation.report.figures import Line
from fairseq_mh.evaluation.scores import CHAIN, read_trace

COUNTS = ("proposals", "accepted", "novel")
WORD = "\u2581"  # SentencePiece's mark of a piece that begins a word


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
    first = runs.unique(["experiment", "sampler"], keep="first", maintain_order=True)
    shown = []
    for run in first.iter_rows(named=True):
        colour = lines[run["experiment"], run["sampler"]].colour
        names = {name: run[name] for name in ("experiment", "sampler", "seed")}
        energy = run.get("mh_energy", "target")
        shown.append({**names, "colour": colour, "energy": energy, **_run(Path(run["folder"]), sentences, seen)})
    if seen and max(seen) >= len(pieces):
        raise UserError(f"token {max(seen)} is not in the dictionary: --data is not the data of these results")
    marked = any(piece.startswith(WORD) for piece in pieces)
    vocabulary = [[pieces[n].removeprefix(WORD) or WORD, not marked or pieces[n].startswith(WORD)] for n in seen]
    return {"vocabulary": vocabulary, "runs": shown}


def _run(folder: Path, sentences: int, seen: dict[int, int]) -> dict[str, Any]:
    """Return a run's sentences with their chains; tokens that are new to the vocabulary are added to `seen`."""
    output, trace = read_output(folder / "output.txt"), read_trace(folder / "trace.jsonl")
    numbers = trace["id"].unique().sort().head(sentences)
    found: dict[int, dict[str, Any]] = {}
    for number in numbers:
        texts = {"source": output.sources, "reference": output.references, "output": output.hypotheses}
        found[number] = {"id": number, **{name: text.get(number, "") for name, text in texts.items()}, "chains": []}
    groups = (
        trace.filter(pl.col("id").is_in(numbers.implode())).sort(*CHAIN, "sweep").group_by(CHAIN, maintain_order=True)
    )
    for (number, _, _), part in groups:
        found[number]["chains"].append(_chain(part, seen))
    return {"sentences": list(found.values())}


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
