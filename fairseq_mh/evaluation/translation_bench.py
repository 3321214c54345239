"""Translation as a bench of experiments: each run is a `fairseq-generate` process."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import torch
from fairseq.data import Dictionary
from tqdm import tqdm

import fairseq_mh
from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.grid import GridRun
from fairseq_mh.evaluation.output import in_order, read_output, read_references
from fairseq_mh.evaluation.pieces import target_language
from fairseq_mh.evaluation.scores import corpus_scores, curve, read_trace, states_bleu, trace_scores
from fairseq_mh.masked_lms.dictionaries import subwords
from fairseq_mh.sampler_config import scan_of
from fairseq_mh.translation.options import TranslationMHConfig, chains_of

DEFAULTS = {field.name: field.default for field in fields(TranslationMHConfig) if field.name.startswith("mh_")}
DEFAULTS |= {"iter_decode_max_iter": 10, "iter_decode_with_beam": 1}


@dataclass(frozen=True)
class Translation:
    """A `Bench` of data and a checkpoint."""

    data: Path  # fairseq's data folder
    checkpoint: Path
    subset: str
    reference: Path | None  # plain text; the data's own targets unless given
    arguments: tuple[str, ...]  # more of fairseq-generate's, --post-process above all

    @property
    def own(self) -> tuple[str, ...]:
        return ("--mh-", "--iter-", "--seed")

    def identity(self) -> tuple[str, ...]:
        return tuple(map(str, astuple(self)))

    def settings(self, run: GridRun) -> dict[str, Any]:
        settings = DEFAULTS | {name.replace("-", "_"): value for name, value in run.options.items()}
        cfg: Any = SimpleNamespace(**settings)
        return settings | {"mh_scan": scan_of(cfg), "mh_chains": chains_of(cfg)}

    def execute(self, run: GridRun, folder: Path) -> None:
        """With a progress bar of its translations."""
        command = [sys.executable, "-m", "fairseq_cli.generate", str(self.data), "--task", "translation_mh"]
        command += ["--user-dir", str(Path(fairseq_mh.__file__).parent), "--path", str(self.checkpoint)]
        command += ["--gen-subset", self.subset, "--mh-trace", str(folder / "trace.jsonl"), *self.arguments]
        command += run.arguments()
        with (
            (folder / "output.txt").open("w", encoding="utf-8") as output,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
            tqdm(desc=f"{run.decoder}, seed {run.seed}", unit=" sentences", leave=False) as bar,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                output.write(line)
                bar.update(line.startswith("H-"))
        if process.returncode:
            last = line.strip() if (folder / "output.txt").stat().st_size else "nothing was printed"
            raise UserError(f"a run failed ({run.decoder}; all of it in {folder / 'output.txt'}): {last}")

    def measure(self, folder: Path) -> tuple[dict[str, Any], pl.DataFrame]:
        found, trace = read_output(folder / "output.txt"), read_trace(folder / "trace.jsonl")
        references = read_references(self.reference) if self.reference else found.references
        row = {
            "data": self.data.name,
            "subset": self.subset,
            "sentences": len(found.hypotheses),
            **corpus_scores(*in_order(found.hypotheses, references)),
            **trace_scores(trace),
            "seconds": found.seconds,
        }
        return row, curve(trace, bleu=states_bleu(detokeniser(self.data), references))


def detokeniser(data: Path) -> Callable[[list[int]], str]:
    """From token indices to text, by the data folder's target dictionary."""
    (path,) = data.glob(f"dict.{target_language(data)}.txt")
    dictionary = Dictionary.load(str(path))
    joined = subwords(dictionary)
    return lambda tokens: dictionary.string(torch.tensor(tokens), joined)
