"""Runs experiments on open-ended generation: each run draws texts as `fairseq-mh sample` does."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.grid import GridRun
from fairseq_mh.evaluation.scores import curve, read_trace, trace_scores
from fairseq_mh.evaluation.text_scores import text_scores
from fairseq_mh.files.chunks import fingerprint, write_whole
from fairseq_mh.files.output import read_samples
from fairseq_mh.open_ended.causal_lm import load_causal_lm
from fairseq_mh.open_ended.drawing import draw_texts, load_text_model
from fairseq_mh.open_ended.options import TextOptions, check_text_options, parse_text_options
from fairseq_mh.sampler_config import scan_of

SECONDS = "seconds.txt"  # in a run's folder: the seconds that its texts have taken so far, over all attempts


class TextBench:
    """A `Bench` of a masked language model.

    Args:
        model: the folder or checkpoint of the model.
        judge: the causal model that evaluates the texts' likelihood; None leaves it out.
        arguments: further options of `fairseq-mh sample`, such as --chains and --length.

    Raises:
        UserError: if a model cannot be loaded.
    """

    own = ("--mh-", "--seed", "--output")

    def __init__(self, model: Path, judge: Path | None, arguments: tuple[str, ...]):
        self.model, self.arguments = model, arguments
        self.files = (fingerprint(model), fingerprint(judge) if judge else "")
        options = self._options(None, Path())
        self.judge = load_causal_lm(judge, options.device) if judge else None
        self.loaded = load_text_model(options.model, options.device, options.sentencepiece_model)

    def identity(self) -> tuple[str, ...]:
        return (str(self.model), *self.files, *self.arguments)

    def settings(self, run: GridRun) -> dict[str, Any]:
        if other := [name for name in run.options if not name.startswith("mh-")]:
            raise UserError(f"{other[0]} is not an option of the sampler: give it after --, for all runs")
        options = self._options(run, Path())
        check_text_options(options)
        own = {name: value for name, value in asdict(options.sampler).items() if name.startswith("mh_")}
        return own | {"mh_scan": scan_of(options.sampler)}

    def execute(self, run: GridRun, folder: Path) -> None:
        def add_seconds(seconds: float) -> None:
            total = seconds_of(folder) + seconds
            write_whole(folder / SECONDS, lambda file: file.write(f"{total}\n".encode()))

        draw_texts(self._options(run, folder), self.loaded, add_seconds)

    def measure(self, folder: Path) -> tuple[dict[str, Any], pl.DataFrame]:
        trace = read_trace(folder / "trace.jsonl")
        texts = [sample["text"] for sample in read_samples(folder / "samples.jsonl")]
        row = {"data": self.model.name, "subset": "open-ended", "sentences": len(texts)}
        row |= {"checkpoint": f"{self.model.name} {self.files[0]}", **trace_scores(trace)}
        return row | text_scores(texts, self.judge) | {"seconds": seconds_of(folder)}, curve(trace)

    def _options(self, run: GridRun | None, folder: Path) -> TextOptions:
        given = [*self.arguments, *(run.arguments() if run else ())]
        return parse_text_options([str(self.model), "--output", str(folder), *given])


def seconds_of(folder: Path) -> float:
    """Return the seconds that all finished batches of a run have taken, over all processes that drew some."""
    path = folder / SECONDS
    return float(path.read_text(encoding="utf-8")) if path.exists() else 0.0
