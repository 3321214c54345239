#!/usr/bin/env python3
"""Translate held-out segments with the embedded model, several ways, and compare.

    python scripts/demo.py            # 50 segments
    python scripts/demo.py --all      # the whole test set: the model card's figures

The decoders are those of experiments/demo.yaml.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tqdm import tqdm

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.grid import read_grid
from fairseq_mh.evaluation.output import read_output, read_references
from fairseq_mh.evaluation.runner import collect, run_once
from fairseq_mh.evaluation.tables import summary
from fairseq_mh.evaluation.translation_bench import Translation

ROOT = Path(__file__).resolve().parents[2]
MODEL = Path("models", "libreoffice-de-en")
ARGUMENTS = ("--post-process", "sentencepiece", "--batch-size", "10")
A_TENTH = ("--distributed-world-size", "10")  # one of ten shards: 50 of the 500 segments
SHOWN = slice(3, 6)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="the whole test set, not a tenth of it")
    args = parser.parse_args()
    os.chdir(ROOT)  # the grid names files from here
    arguments = ARGUMENTS if args.all else (*ARGUMENTS, *A_TENTH)
    bench = Translation(MODEL, MODEL / "checkpoint.pt", "test", MODEL / "test.en", arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            grid = read_grid(ROOT / "fairseq_mh/evaluation/grids/demo.yaml")
            folders = [run_once(run, bench, Path(folder)) for run in tqdm(grid, "decoders", unit="")]
            results = collect(folders, Path(folder))
            found = {run.decoder: read_output(f / "output.txt") for run, f in zip(grid, folders, strict=True)}
    except UserError as error:
        sys.exit(f"fairseq-mh: error: {error}")
    numbers = sorted(next(iter(found.values())).hypotheses)
    print(f"\n{len(numbers)} segments of the test set of {MODEL.name}\n\n{summary(results)}")
    sources, references = (read_references(MODEL / f"test.{language}") for language in ("de", "en"))
    width = max(map(len, found))
    for number in numbers[SHOWN]:
        print(f"\n{'source':{width}}  {sources[number]}\n{'reference':{width}}  {references[number]}")
        for decoder, output in found.items():
            print(f"{decoder:{width}}  {output.hypotheses[number]}")


if __name__ == "__main__":
    main()
