#!/usr/bin/env python3
"""Translate held-out segments with the embedded model, four ways, and compare.

    python scripts/demo.py            # 100 segments
    python scripts/demo.py --all      # the whole test set: the model card's figures

Each decoder is one `fairseq-generate` command, printed before it runs.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from sacrebleu.metrics import BLEU, CHRF
from tabulate import tabulate
from tqdm import tqdm

import fairseq_mh

MODEL = Path(os.path.relpath(Path(__file__).parents[1] / "models" / "libreoffice-de-en"))
DECODERS = {
    "mask-predict, 10 passes": ("--mh-decoding", "mask-predict", "--iter-decode-max-iter", "9"),
    "degenerate Gibbs": ("--mh-decoding", "gibbs", "--iter-decode-max-iter", "9"),
    "annealed MH, warm start": ("--mh-decoding", "mh", "--mh-init", "warm-start"),
    "annealed MH": ("--mh-decoding", "mh", "--iter-decode-max-iter", "9"),
}
SHARDS = 5  # one of five batches: 100 of the 500 segments
COLUMNS = ("decoder", "BLEU", "chrF", "E_norm/token", "accepted", "novel", "decoder rows", "seconds")


class Decoded(NamedTuple):
    hypotheses: dict[int, str]
    trace: list[dict]
    seconds: float


def decode(name: str, options: tuple[str, ...], split: str, whole: bool, folder: Path) -> Decoded:
    """Run `fairseq-generate` and read what it printed and traced."""
    trace = folder / "trace.jsonl"
    user_dir = os.path.relpath(Path(fairseq_mh.__file__).parent)
    command = ["fairseq-generate", str(MODEL), "--user-dir", str(user_dir), "--task", "translation_mh"]
    command += ["--path", str(MODEL / "checkpoint.pt"), "--gen-subset", split, "--batch-size", "10"]
    command += ["--post-process", "sentencepiece", "--mh-trace", str(trace), *options]
    command += [] if whole else ["--distributed-world-size", str(SHARDS)]
    print(f"$ {shlex.join(command)}")
    total = len(text(split, "en")) // (1 if whole else SHARDS)
    hypotheses, program = {}, [str(Path(sys.executable).with_name(command[0])), *command[1:]]
    with (
        (folder / "log").open("w+") as log,
        subprocess.Popen(program, stdout=subprocess.PIPE, stderr=log, text=True) as process,
        tqdm(total=total, desc=name, unit=" segments") as bar,
    ):
        for line in process.stdout:
            if line.startswith("D-"):
                number, _, hypothesis = line[2:].rstrip("\n").split("\t")
                hypotheses[int(number)] = hypothesis
                bar.update()
    log = (folder / "log").read_text()
    if process.returncode:
        sys.exit(log)
    seconds = float(re.search(r"Translated .* in ([\d.]+)s", log).group(1))
    return Decoded(hypotheses, [json.loads(line) for line in trace.open()], seconds)


def text(split: str, language: str) -> list[str]:
    return (MODEL / f"{split}.{language}").read_text(encoding="utf-8").splitlines()


def summary(name: str, decoded: Decoded, references: list[str], metrics) -> list:
    """One row of the table."""
    numbers = sorted(decoded.hypotheses)
    hypotheses = [decoded.hypotheses[n] for n in numbers]
    scores = [metric.corpus_score(hypotheses, [[references[n] for n in numbers]]).score for metric in metrics]
    best: dict[int, float] = {}  # of the states at the ends of sweeps
    for record in decoded.trace:
        energy = record["energy_norm"] / record["length"]
        best[record["id"]] = min(best.get(record["id"], energy), energy)
    total = {key: sum(record[key] for record in decoded.trace) for key in ("proposals", "accepted", "novel", "rows")}
    rates = [total[key] / total["proposals"] if total["proposals"] else None for key in ("accepted", "novel")]
    return [name, *scores, sum(best.values()) / len(best), *rates, f"{total['rows']:,}", decoded.seconds]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="the whole split, not a fifth of it")
    parser.add_argument("--split", choices=("test", "valid"), default="test")
    parser.add_argument("--only", choices=tuple(DECODERS), help="this decoder alone")
    parser.add_argument("options", nargs="*", help="more options for every decoder, after --")
    args = parser.parse_args()
    sources, references = text(args.split, "de"), text(args.split, "en")
    metrics = (BLEU(), CHRF())
    results, rows = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name, options in DECODERS.items():
            if args.only not in (None, name):
                continue
            results[name] = decode(name, (*options, *args.options), args.split, args.all, Path(folder))
            rows.append(summary(name, results[name], references, metrics))
    numbers = sorted(next(iter(results.values())).hypotheses)
    print(f"\n{len(numbers)} segments of the {args.split} set of {MODEL.name}\n")
    print(tabulate(rows, COLUMNS, floatfmt=("", ".1f", ".1f", ".3f", ".2f", ".3f", "", ".1f"), missingval="-"))
    for metric in metrics:
        print(metric.get_signature())
    width = max(map(len, DECODERS))
    for number in numbers[3:6]:
        print(f"\n{'source':{width}}  {sources[number]}\n{'reference':{width}}  {references[number]}")
        for name, decoded in results.items():
            print(f"{name:{width}}  {decoded.hypotheses[number]}")


if __name__ == "__main__":
    main()
