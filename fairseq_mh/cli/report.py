#!/usr/bin/env python3
"""Make one HTML page of experiments: figures by sweep, tables beside the paper's, quality against cost, the chains.

    python scripts/report.py results/figures results/table1 --data models/libreoffice-de-en --output report.html

Each folder is an --output of scripts/experiments.py; all must be of the same sentences. The page opens offline.
"""

import argparse
import sys
from pathlib import Path

import yaml

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.report.page import page, write

PAPER = Path(__file__).parents[1] / "evaluation" / "paper.yaml"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULTS_DIR", help="written by experiments.py")
    parser.add_argument("--output", type=Path, required=True, help="the HTML file")
    parser.add_argument("--data", type=Path, help="fairseq's data folder, for the pieces of the chain viewer")
    parser.add_argument("--sentences", type=int, default=20, help="the first ones, in the viewer; default: %(default)s")
    args = parser.parse_args()
    try:
        paper = yaml.safe_load(PAPER.read_text(encoding="utf-8"))
        write(page(args.results, args.data, args.sentences, paper), args.output)
    except UserError as error:
        sys.exit(f"fairseq-mh: error: {error}")
    if not args.data:
        print("without --data the page has no chain viewer: its pieces are in the data's dictionary")


if __name__ == "__main__":
    main()
