"""Runs experiments on translation: each run is a `fairseq-generate` process."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

import polars as pl
import torch

import fairseq_mh
from fairseq_mh.errors import UserError, WarnOnce
from fairseq_mh.evaluation.comparison import warnings_about
from fairseq_mh.evaluation.grid import GridRun
from fairseq_mh.evaluation.limited_data import limited_data, sentences_of
from fairseq_mh.evaluation.scores import corpus_scores, curve, read_trace, states_bleu, trace_scores
from fairseq_mh.files.chunks import fingerprint
from fairseq_mh.files.output import in_order, read_output, read_references
from fairseq_mh.masked_lms.dictionaries import subwords, target_dictionary
from fairseq_mh.progress import Progress
from fairseq_mh.sampler_config import scan_of
from fairseq_mh.translation.options.config import TranslationMHConfig, chains_of
from fairseq_mh.translation.options.presets import with_preset

warn_once = WarnOnce(logging.getLogger(__name__))  # all runs of an experiment share their warnings
DEFAULTS = {field.name: field.default for field in fields(TranslationMHConfig) if field.name.startswith("mh_")}
DEFAULTS |= {"iter_decode_max_iter": 10, "iter_decode_with_beam": 1}


@dataclass(frozen=True)
class TranslationBench:
    """A `Bench` of a data folder and a checkpoint."""

    data: Path  # fairseq's data folder
    checkpoint: Path
    subset: str
    reference: Path | None  # plain text; None takes the data's own targets
    arguments: tuple[str, ...]  # further options of fairseq-generate, such as --post-process
    limit: int | None = None  # number of first sentences to decode; None decodes all
    own = ("--mh-", "--iter-", "--seed")

    @cached_property
    def references(self) -> dict[int, str] | None:
        """The lines of the file of references, by sentence number; None if the data's own targets are used.

        Raises:
            UserError: if the file cannot be read, or has fewer lines than there are sentences to translate.
        """
        if self.reference is None:
            return None
        references = read_references(self.reference)
        sentences = sentences_of(self.data, self.subset, self.limit)
        if len(references) < sentences:
            raise UserError(
                f"{self.reference} has {len(references)} lines for {sentences} sentences of {self.subset}; "
                "it needs one for each"
            )
        return references

    @cached_property
    def _contents(self) -> tuple[str, ...]:
        """The fingerprints of the files that decide the results, which are read only once."""
        files = [*self.data.glob(f"{self.subset}.*-*.*"), *self.data.glob("dict.*.txt"), self.checkpoint]
        files += [self.reference] if self.reference else []
        return tuple(fingerprint(path) for path in sorted(files) if path.exists())

    def identity(self) -> tuple[str, ...]:
        """Return everything that decides a result besides the run; files count by their content, not by their path."""
        limit = () if self.limit is None else (f"--limit {self.limit}",)
        return (self.data.name, self.subset, str(self.arguments), *self._contents, *limit)

    def settings(self, run: GridRun) -> dict[str, Any]:
        preset = with_preset(["--mh-preset", str(run.options.get("mh-preset", "default"))])[:-2]
        named = dict(zip(preset[::2], preset[1::2], strict=True)) | run.options
        settings = DEFAULTS | {name.removeprefix("--").replace("-", "_"): value for name, value in named.items()}
        cfg: Any = SimpleNamespace(**settings)
        return settings | {"mh_scan": scan_of(cfg), "mh_chains": chains_of(cfg)}

    def execute(self, run: GridRun, folder: Path) -> None:
        """Decode in a separate process, and show its progress in sentences."""
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
        signal.siginterrupt(signal.SIGINT, True)  # polars' handler restarts reads, so that Ctrl-C would wait for a line
        with (
            limited_data(self.data, self.subset, self.limit) as data,
            (folder / "output.txt").open("w", encoding="utf-8") as output,
            subprocess.Popen(
                self._command(run, data, folder),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=environment,
            ) as process,
            Progress(desc=f"{run.decoder}, seed {run.seed}", unit=" sentences", leave=False) as bar,
            bar.ticking(),
        ):
            assert process.stdout is not None
            try:
                last = copy_output(process.stdout, output, bar)
            except BaseException:  # end the process of an interrupted run
                process.terminate()
                raise
        if process.returncode:
            said = last or "nothing was printed"
            raise UserError(f"a run failed ({run.decoder}; all of it in {folder / 'output.txt'}): {said}")

    def _command(self, run: GridRun, data: Path, folder: Path) -> list[str]:
        """Return the command line of a run, whose trace is written into its folder."""
        command = [sys.executable, "-m", "fairseq_cli.generate", str(data), "--task", "translation_mh"]
        command += ["--user-dir", str(Path(fairseq_mh.__file__).parent), "--path", str(self.checkpoint)]
        command += ["--gen-subset", self.subset, "--mh-trace", str(folder / "trace.jsonl"), *self.arguments]
        command += ["--no-progress-bar"]
        return command + run.arguments()

    def measure(self, folder: Path) -> tuple[dict[str, Any], pl.DataFrame]:
        found, trace = read_output(folder / "output.txt"), read_trace(folder / "trace.jsonl")
        references = found.references if self.references is None else self.references
        for line in warnings_about({"the output": found.hypotheses}, references, printed=not self.reference):
            warn_once(line, line)
        row = {
            "data": self.data.name,
            "subset": self.subset,
            "sentences": len(found.hypotheses),
            "checkpoint": f"{self.checkpoint.name} {fingerprint(self.checkpoint)}",
            **corpus_scores(*in_order(found.hypotheses, references)),
            **trace_scores(trace),
            "seconds": found.seconds,
        }
        return row, curve(trace, bleu=states_bleu(detokeniser(self.data), references))


def copy_output(lines: Iterable[str], output: TextIO, bar: Progress) -> str:
    """Copy a run's output, and count the sentences in it.

    Args:
        lines: the run's standard output and error.
        output: the file to write.
        bar: counts the printed sentences.

    Returns:
        The last line, without surrounding blanks; "" if there is none.
    """
    last = ""
    for line in lines:
        if line.strip():
            output.write(line)
            last = line.strip()
            bar.update(line.startswith("H-"))
    return last


def detokeniser(data: Path) -> Callable[[list[int]], str]:
    """Return a function from token indices to text that uses the target dictionary of the data folder."""
    dictionary = target_dictionary(data)
    joined = subwords(dictionary)
    return lambda tokens: dictionary.string(torch.tensor(tokens), joined)
