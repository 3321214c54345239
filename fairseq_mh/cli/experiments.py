#!/usr/bin/env python3
"""Run declared grids of decoders over a data set, and write one tidy table of results.

    python scripts/experiments.py experiments/table1.yaml models/libreoffice-de-en --output results/table1 \
        -- --post-process sentencepiece --batch-size 20
    python scripts/experiments.py experiments/table2.yaml models/libreoffice-en --output results/table2 \
        --causal-lm FOLDER -- --chains 50

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


def bench_of(args: argparse.Namespace) -> Bench:
    """Only what is needed is imported."""
    if args.data.suffix == ".pt" or (args.data / "config.json").exists():
        from fairseq_mh.evaluation.text_bench import Texts

        if args.checkpoint or args.reference:
            raise UserError("--checkpoint and --reference are for translations; these runs draw texts")
        return Texts(args.data, args.causal_lm, tuple(args.arguments))
    from fairseq_mh.evaluation.translation_bench import Translation

    if args.causal_lm:
        raise UserError("--causal-lm judges texts; these runs translate")
    checkpoint = args.checkpoint or args.data / "checkpoint.pt"
    return Translation(args.data, checkpoint, args.subset, args.reference, tuple(args.arguments))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("grid", type=Path, help="YAML; fairseq_mh/evaluation/grid.py says how")
    parser.add_argument("data", type=Path, help="fairseq's data folder; or, to draw texts, a masked language model's")
    parser.add_argument("--checkpoint", type=Path, help="default: DATA/checkpoint.pt")
    parser.add_argument(
        "--causal-lm", type=Path, help="that judges texts: a Hugging Face model's folder, or a .gguf file"
    )
    parser.add_argument("--subset", default="test", help="default: %(default)s")
    parser.add_argument("--reference", type=Path, help="plain text, a sentence a line; default: the data's targets")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("arguments", nargs="*", help="more of fairseq-generate's or sample_mlm.py's, after --")
    args = parser.parse_intermixed_args()  # so that options may stand between the folder and --
    try:
        bench, folders = bench_of(args), []
        for run in tqdm(read_grid(args.grid), desc=args.grid.stem, unit=" runs"):
            folders.append(run_once(run, bench, args.output))
            results = collect(folders, args.output)
    except UserError as error:
        sys.exit(f"fairseq-mh: error: {error}")
    print(summary(results))


if __name__ == "__main__":
    main()
