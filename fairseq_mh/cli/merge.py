"""Merge the outputs of fairseq-generate's shards into the output of one run.

    for i in 0 1 2 3; do
        fairseq-generate DATA ... --distributed-world-size 4 --distributed-rank $i > out/shard$i.txt
    done
    fairseq-mh merge out/shard?.txt > out/whole.txt

The sentences are in the order of their numbers, each with all of its lines (S- T- H- D- P- I- E-). The command fails if
two files hold the same sentence, if a sentence is cut off, or, without --gaps, if a sentence is missing. The scores and
logs of the shards are left out; their decoder rows and seconds are added up.
"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from fairseq_mh.evaluation.shards import merged


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("shards", type=Path, nargs="+", help="outputs of fairseq-generate, or --results-path files")
    parser.add_argument("--gaps", action="store_true", help="allow missing sentences (left out as too long)")
    parser.add_argument("--sentences", type=int, metavar="N", help="number of sentences that there must be")


def run(args: Namespace) -> None:
    lines = merged(args.shards, args.gaps, args.sentences)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sentences = sum(line.startswith("S-") for line in lines)
    print(f"fairseq-mh: {sentences} sentences of {len(args.shards)} files are written", file=sys.stderr)
