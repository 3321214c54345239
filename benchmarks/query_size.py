#!/usr/bin/env python3
"""Measure rows a second of a CPU by the rows of a query and by threads.

    OMP_WAIT_POLICY=passive python -m benchmarks.query_size models/libreoffice-de-en

All sizes are measured in turn, several times, and the fastest run of each counts: in seconds, and in the seconds of
processors that its threads took together, which other work on the machine changes less.
"""

import argparse
import time
from collections.abc import Sequence
from unittest.mock import patch

import torch
from tabulate import tabulate

from benchmarks.decoding import load_decoder
from benchmarks.row_cost import TOKENS, Rows
from benchmarks.timing import seconds
from fairseq_mh.mcmc import masked_lm

SIZES = (16, 32, 64, 128, 256, 512, 1024)


Taken = tuple[float, float]  # seconds, and seconds of processors


def fastest(rows: Rows, sizes: Sequence[int], threads: Sequence[int], repeats: int) -> dict[tuple[int, int], Taken]:
    """Return what the rows take at the least, by threads and size."""
    taken: dict[tuple[int, int], list[Taken]] = {(number, size): [] for number in threads for size in sizes}
    for _ in range(repeats + 1):  # the first run warms up
        for (number, size), found in taken.items():
            torch.set_num_threads(number)
            with patch.object(masked_lm, "QUERY_ON_CPU", size):
                begun = time.process_time()
                found.append((seconds(rows), time.process_time() - begun))
    return {key: (min(one[0] for one in found[1:]), min(one[1] for one in found[1:])) for key, found in taken.items()}


@torch.no_grad()
def main():
    """Print a table of rows a second, and of each size's share of the fastest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="fairseq data folder with a checkpoint.pt")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of a sentence; default: %(default)s")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    args = parser.parse_args()
    decoder = load_decoder(args.data, "--cpu")
    rows = Rows(decoder.model, decoder.task.target_dictionary, args.tokens, max(SIZES) + args.tokens)
    found, number = fastest(rows, SIZES, args.threads, args.repeats), rows.tokens.numel()
    table = [
        (size, *(number / found[some, size][clock] for clock in (0, 1) for some in args.threads)) for size in SIZES
    ]
    units = ("rows a second", "rows a processor's second")
    headers = [f"{unit}, {some} threads" for unit in units for some in args.threads]
    print(tabulate(table, headers=("rows a query", *headers), floatfmt=",.0f"))


if __name__ == "__main__":
    main()
