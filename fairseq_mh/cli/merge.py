#!/usr/bin/env python3
"""Put the outputs of `fairseq-generate`'s shards together, as one run prints them.

    for i in 0 1 2 3; do
        fairseq-generate DATA ... --distributed-world-size 4 --distributed-rank $i > shard$i.txt
    done
    python scripts/merge_shards.py shard?.txt > whole.txt

Sentences come in the order of their numbers, each with all of its lines (S- T- H- D- P- I- E-). A sentence that two
files have, one that is cut off, and, unless --gaps, one that no file has are refused. What a shard says of itself (its
own score, its log) is left out, but for the decoder rows, which are added up.
"""

import argparse
import sys
from pathlib import Path

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.shards import merged


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path, nargs="+", help="outputs of fairseq-generate, or --results-path files")
    parser.add_argument("--gaps", action="store_true", help="sentences may be missing (left out as too long)")
    parser.add_argument("--sentences", type=int, help="how many there must be")
    args = parser.parse_args()
    try:
        lines = merged(args.shards, args.gaps, args.sentences)
    except UserError as error:
        sys.exit(f"fairseq-mh: error: {error}")
    sys.stdout.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
