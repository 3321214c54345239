#!/usr/bin/env python3
"""Run declared grids of decoders over a data set, and write one tidy table of results.

    python scripts/experiments.py experiments/table1.yaml models/libreoffice-de-en --output results/table1 \
        -- --post-process sentencepiece --batch-size 20

Stopped at any time, the same command goes on where it was. OUTPUT/results.csv has a row a run, with all its
settings; OUTPUT/curves.csv a row a run and sweep; OUTPUT/runs/ what each run printed and traced.
"""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.grid import read_grid
from fairseq_mh.evaluation.runner import Bench, collect, run_once
from fairseq_mh.evaluation.tables import summary


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("grid", type=Path, help="YAML; fairseq_mh/evaluation/grid.py says how")
    parser.add_argument("data", type=Path, help="fairseq's data folder")
    parser.add_argument("--checkpoint", type=Path, help="default: DATA/checkpoint.pt")
    parser.add_argument("--subset", default="test", help="default: %(default)s")
    parser.add_argument("--reference", type=Path, help="plain text, a sentence a line; default: the data's targets")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("arguments", nargs="*", help="more arguments of fairseq-generate, after --")
    args = parser.parse_intermixed_args()  # so that options may stand between the folder and --
    checkpoint = args.checkpoint or args.data / "checkpoint.pt"
    bench = Bench(args.data, checkpoint, args.subset, args.reference, tuple(args.arguments))
    try:
        folders = []
        for run in tqdm(read_grid(args.grid), desc=args.grid.stem, unit=" runs"):
            folders.append(run_once(run, bench, args.output))
            results = collect(folders, args.output)
    except UserError as error:
        sys.exit(f"fairseq-mh: error: {error}")
    print(summary(results))


if __name__ == "__main__":
    main()
