#!/usr/bin/env python3
"""Have the chains of a trace converged?

fairseq-generate DATA ... --mh-proposal single --mh-temperature 1 --mh-final-temperature 1 --mh-chains 4 \\
    --mh-sweeps 40 --mh-trace FILE
python scripts/diagnose.py FILE --burn-in 7
"""

import argparse
import sys
from pathlib import Path

from tabulate import tabulate

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.diagnostics import diagnose, summary
from fairseq_mh.evaluation.scores import read_trace


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trace", type=Path, help="what --mh-trace wrote")
    parser.add_argument("--burn-in", type=int, default=0, help="sweeps to leave out; default: %(default)s")
    parser.add_argument("--output", type=Path, help="write a row for each sentence and length to this CSV file")
    args = parser.parse_args()
    try:
        table = diagnose(read_trace(args.trace), args.burn_in)
    except UserError as error:
        sys.exit(f"fairseq-mh: error: {error}")
    if args.output:
        table.write_csv(args.output)
    print(tabulate(summary(table).items(), floatfmt=".3f", missingval="-"))


if __name__ == "__main__":
    main()
