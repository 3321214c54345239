#!/usr/bin/env python3
"""Measure a CPU's rows a second for several query sizes and numbers of threads.

    OMP_WAIT_POLICY=passive python -m benchmarks.query_size models/libreoffice-de-en

The program measures all sizes in turn, several times, and counts the fastest run of each size: its wall-clock seconds,
and the processor seconds of all threads together, which depend less on other work on the machine.
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


Times = tuple[float, float]  # wall-clock seconds, and processor seconds


def fastest(rows: Rows, sizes: Sequence[int], threads: Sequence[int], repeats: int) -> dict[tuple[int, int], Times]:
    """Return the shortest times for the rows: (threads, query size) -> times."""
    times: dict[tuple[int, int], list[Times]] = {(number, size): [] for number in threads for size in sizes}
    for _ in range(repeats + 1):  # the first run warms up
        for (number, size), runs in times.items():
            torch.set_num_threads(number)
            with patch.object(masked_lm, "QUERY_ON_CPU", size):
                start = time.process_time()
                runs.append((seconds(rows), time.process_time() - start))
    return {key: (min(run[0] for run in runs[1:]), min(run[1] for run in runs[1:])) for key, runs in times.items()}


@torch.no_grad()
def main():
    """Print a table of rows a second."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="fairseq data folder with a checkpoint.pt")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="tokens in a sentence; default: %(default)s")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads; default: 1 2")
    parser.add_argument("--repeats", type=int, default=3, help="measured runs; default: %(default)s")
    args = parser.parse_args()
    decoder = load_decoder(args.data, "--cpu")
    rows = Rows(decoder.model, decoder.task.target_dictionary, args.tokens, max(SIZES) + args.tokens)
    times, number = fastest(rows, SIZES, args.threads, args.repeats), rows.tokens.numel()
    table = [
        (size, *(number / times[threads, size][clock] for clock in (0, 1) for threads in args.threads))
        for size in SIZES
    ]
    units = ("rows a second", "rows a processor second")
    headers = [f"{unit}, {threads} threads" for unit in units for threads in args.threads]
    print(tabulate(table, headers=("rows a query", *headers), floatfmt=",.0f"))


if __name__ == "__main__":
    main()
