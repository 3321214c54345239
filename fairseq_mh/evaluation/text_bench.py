"""Open-ended generation as a bench of experiments: each run is what `scripts/sample_mlm.py` does."""

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.diversity import distinct, self_bleu
from fairseq_mh.evaluation.grid import GridRun
from fairseq_mh.evaluation.output import read_samples
from fairseq_mh.evaluation.scores import curve, read_trace, trace_scores
from fairseq_mh.files.chunks import fingerprint
from fairseq_mh.open_ended.causal_lm import CausalLM, load_causal_lm
from fairseq_mh.open_ended.command_line import check, draw, load, parse
from fairseq_mh.sampler_config import SamplerConfig, scan_of


class Texts:
    """A `Bench` of a masked language model.

    Args:
        judge: of the causal model that says how likely the texts are; None: nobody does.
        arguments: more of the script's: --chains, --length.
    """

    own = ("--mh-", "--seed", "--output")

    def __init__(self, model: Path, judge: Path | None, arguments: tuple[str, ...]):
        self.model, self.arguments, self.seconds = model, arguments, 0.0
        self.files = (fingerprint(model), fingerprint(judge) if judge else "")
        self.judge = load_causal_lm(judge, "cpu") if judge else None
        self.loaded = load(self._parsed(None, Path())[0])

    def identity(self) -> tuple[str, ...]:
        return (str(self.model), *self.files, *self.arguments)

    def settings(self, run: GridRun) -> dict[str, Any]:
        if other := [name for name in run.options if not name.startswith("mh-")]:
            raise UserError(f"{other[0]} is no option of the sampler: give it after --, the same for all runs")
        args, cfg = self._parsed(run, Path())
        check(args, cfg)
        own = {name: value for name, value in asdict(cfg).items() if name.startswith("mh_")}
        return own | {"mh_scan": scan_of(cfg)}

    def execute(self, run: GridRun, folder: Path) -> None:
        begun = time.perf_counter()
        args, cfg = self._parsed(run, folder)
        draw(args, cfg, self.loaded)
        self.seconds = time.perf_counter() - begun

    def measure(self, folder: Path) -> tuple[dict[str, Any], pl.DataFrame]:
        trace = read_trace(folder / "trace.jsonl")
        texts = read_texts(folder / "samples.jsonl")
        row = {"data": self.model.name, "subset": "open-ended", "sentences": len(texts), **trace_scores(trace)}
        return row | text_scores(texts, self.judge) | {"seconds": self.seconds}, curve(trace)

    def _parsed(self, run: GridRun | None, folder: Path) -> tuple[argparse.Namespace, SamplerConfig]:
        return parse([str(self.model), "--output", str(folder), *self.arguments, *(run.arguments() if run else ())])


def read_texts(path: Path) -> list[str]:
    """Of `samples.jsonl`. Raises UserError where it cannot be read as one."""
    return [sample["text"] for sample in read_samples(path)]


def text_scores(texts: list[str], judge: CausalLM | None) -> dict[str, float | None]:
    """`nats`: a text's by the judge, not normalised by its tokens; `perplexity`: exp of the nats a token."""
    row: dict[str, float | None] = {"self_bleu": self_bleu(texts)}
    row |= {f"distinct_{n}": distinct(texts, n) for n in (1, 2)}
    if judge:
        judged = judge.judge(texts)
        row |= {"nats": float(judged.nats.mean()), "perplexity": judged.perplexity()}
    return row
