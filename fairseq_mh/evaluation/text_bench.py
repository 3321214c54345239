"""Open-ended generation as a bench of experiments: each run is what `scripts/sample_mlm.py` does."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from fairseq_mh.evaluation.diversity import distinct, self_bleu
from fairseq_mh.evaluation.grid import GridRun
from fairseq_mh.evaluation.scores import curve, read_trace, trace_scores
from fairseq_mh.open_ended.causal_lm import CausalLM
from fairseq_mh.open_ended.command_line import draw, parse
from fairseq_mh.sampler_config import scan_of


class Texts:
    """A `Bench` of a masked language model.

    Args:
        judge: the causal model that says how likely the texts are; None: nobody does.
        arguments: more of the script's: --chains, --length.
    """

    own = ("--mh-", "--seed", "--output")

    def __init__(self, model: Path, judge: CausalLM | None, arguments: tuple[str, ...]):
        self.model, self.judge, self.arguments = model, judge, arguments
        self.seconds = 0.0

    def identity(self) -> tuple[str, ...]:
        return (str(self.model), *self.arguments, self.judge.model.name_or_path if self.judge else "")

    def settings(self, run: GridRun) -> dict[str, Any]:
        _, cfg = self._parsed(run, Path())
        own = {name: value for name, value in asdict(cfg).items() if name.startswith("mh_")}
        return own | {"mh_scan": scan_of(cfg)}

    def execute(self, run: GridRun, folder: Path) -> None:
        begun = time.perf_counter()
        draw(*self._parsed(run, folder))
        self.seconds = time.perf_counter() - begun

    def measure(self, folder: Path) -> tuple[dict[str, Any], pl.DataFrame]:
        trace = read_trace(folder / "trace.jsonl")
        texts = read_texts(folder / "samples.jsonl")
        row = {"data": self.model.name, "subset": "open-ended", "sentences": len(texts), **trace_scores(trace)}
        return row | text_scores(texts, self.judge) | {"seconds": self.seconds}, curve(trace)

    def _parsed(self, run: GridRun, folder: Path):
        return parse([str(self.model), "--output", str(folder), *self.arguments, *run.arguments()])


def read_texts(path: Path) -> list[str]:
    """Of `samples.jsonl`."""
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


def text_scores(texts: list[str], judge: CausalLM | None) -> dict[str, float]:
    """`nats`: a text's by the judge, not normalised by its tokens; `perplexity`: exp of the nats a token."""
    row = {"self_bleu": self_bleu(texts), "distinct_1": distinct(texts, 1), "distinct_2": distinct(texts, 2)}
    if judge:
        judged = judge.judge(texts)
        row |= {"nats": float(judged.nats.mean()), "perplexity": judged.perplexity()}
    return row
