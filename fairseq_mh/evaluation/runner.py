"""Runs of a grid, each a `fairseq-generate` process, and the tables of their results.

A run's folder appears when the run is finished: what is there is not run again.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import polars as pl
import torch
from fairseq.data import Dictionary
from tqdm import tqdm

import fairseq_mh
from fairseq_mh.cmlm import subwords
from fairseq_mh.config import TranslationMHConfig, chains_of
from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.grid import GridRun
from fairseq_mh.evaluation.output import in_order, read_output, read_references
from fairseq_mh.evaluation.pieces import target_language
from fairseq_mh.evaluation.scores import corpus_scores, curve, read_trace, trace_scores
from fairseq_mh.sampler_config import scan_of

DEFAULTS = {field.name: field.default for field in fields(TranslationMHConfig) if field.name.startswith("mh_")}
DEFAULTS |= {"iter_decode_max_iter": 10, "iter_decode_with_beam": 1}


class Bench(NamedTuple):
    """What all runs of an experiment decode."""

    data: Path  # fairseq's data folder
    checkpoint: Path
    subset: str
    reference: Path | None  # plain text; the data's own targets unless given
    arguments: tuple[str, ...]  # more of fairseq-generate's, --post-process above all; no setting of a decoder


def run_once(run: GridRun, bench: Bench, output: Path) -> Path:
    """The folder of a finished run: its output, trace, row of results and curve.

    Raises:
        UserError: where the run fails, or the bench's arguments hold what is the grid's to say.
    """
    for argument in bench.arguments:
        if argument.startswith(("--mh-", "--iter-", "--seed")):
            raise UserError(f"{argument} belongs into the grid, so that the results name it")
    settings = settings_of(run)
    key = run.key(*map(str, (*settings.items(), version("fairseq-mh"), *bench)))
    folder, partial = output / "runs" / key, output / "runs" / f"{key}.part"
    if folder.exists():
        return folder
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    decode(run, bench, partial)
    found, trace = read_output(partial / "output.txt"), read_trace(partial / "trace.jsonl")
    references = read_references(bench.reference) if bench.reference else found.references
    row = {
        "experiment": run.experiment,
        "decoder": run.decoder,
        "data": bench.data.name,
        "subset": bench.subset,
        "sentences": len(found.hypotheses),
        "seed": run.seed,
        **corpus_scores(*in_order(found.hypotheses, references)),
        **trace_scores(trace),
        "seconds": found.seconds,
        **{name: str(value) for name, value in settings.items() if name != "mh_trace"},
        "arguments": " ".join(bench.arguments),
        "versions": " ".join(f"{name}={version(name)}" for name in ("fairseq-mh", "ve-fairseq", "torch", "sacrebleu")),
    }
    curve(trace, detokeniser(bench.data), references).write_csv(partial / "curve.csv")
    (partial / "row.json").write_text(json.dumps(row, indent=1), encoding="utf-8")
    partial.rename(folder)
    return folder


def settings_of(run: GridRun) -> dict[str, Any]:
    """Every setting of the run, those that it leaves to their defaults included."""
    settings = DEFAULTS | {name.replace("-", "_"): value for name, value in run.options.items()}
    cfg: Any = SimpleNamespace(**settings)
    return settings | {"mh_scan": scan_of(cfg), "mh_chains": chains_of(cfg)}


def decode(run: GridRun, bench: Bench, folder: Path) -> None:
    """`fairseq-generate`, with a progress bar of its translations."""
    command = [sys.executable, "-m", "fairseq_cli.generate", str(bench.data), "--task", "translation_mh"]
    command += ["--user-dir", str(Path(fairseq_mh.__file__).parent), "--path", str(bench.checkpoint)]
    command += ["--gen-subset", bench.subset, "--mh-trace", str(folder / "trace.jsonl"), *bench.arguments]
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


def detokeniser(data: Path) -> Callable[[list[int]], str]:
    """From token indices to text, by the data folder's target dictionary."""
    (path,) = data.glob(f"dict.{target_language(data)}.txt")
    dictionary = Dictionary.load(str(path))
    joined = subwords(dictionary)
    return lambda tokens: dictionary.string(torch.tensor(tokens), joined)


def collect(folders: list[Path], output: Path) -> pl.DataFrame:
    """Write `results.csv`, a row a run, and `curves.csv`, a row a run and sweep, for these finished runs."""
    rows = [json.loads((folder / "row.json").read_text(encoding="utf-8")) for folder in folders]
    results = pl.DataFrame([{"run": folder.name, **row} for folder, row in zip(folders, rows, strict=True)])
    curves = [
        pl.read_csv(folder / "curve.csv").insert_column(0, pl.lit(folder.name).alias("run")) for folder in folders
    ]
    for name, table in (("results.csv", results), ("curves.csv", pl.concat(curves, how="vertical_relaxed"))):
        partial = output / f"{name}.part"
        table.write_csv(partial)
        os.replace(partial, output / name)
    return results
