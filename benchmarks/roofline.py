#!/usr/bin/env python3
"""Count the cost of a decoder row, and print the rows a second that an accelerator's published peaks allow.

    python -m benchmarks.roofline models/libreoffice-de-en

A row of T tokens that masks one position, with its logits, takes F operations and moves A bytes, and a query of M rows
reads the W bytes of the weights once:

    seconds(M) = max(M F / peak, (W + M A) / bandwidth)

Torch counts F and the larger A, in which no two operations are fused, while the package's decoder runs; the smaller A
counts the input and output of each layer. The program also evaluates the formula with this machine's measured peaks,
and prints the result next to the measured rows a second. Nothing here is measured on an accelerator, and a real one
stays below its roofline.
"""

import argparse

import torch
from tabulate import tabulate

from benchmarks.decoding import load_decoder
from benchmarks.peaks import H100, Roofline, measured_peaks
from benchmarks.row_cost import TOKENS, Rows, transformer_base
from fairseq_mh.mcmc.masked_lm import query_size

ROWS = (64, 2048, 16384)  # numbers of rows in a query


@torch.no_grad()
def main():
    """Print the allowed rows a second of each model, and compare the formula with this machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="fairseq data folders with a checkpoint.pt")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="tokens in a sentence; default: %(default)s")
    args = parser.parse_args()
    models = {
        data: (decoder.model, decoder.task.target_dictionary)
        for data in args.data
        for decoder in [load_decoder(data, "--cpu")]
    }
    peaks, table, own = measured_peaks(), [], []
    for name, (model, dictionary) in {**models, "Transformer base": transformer_base()}.items():
        rows = Rows(model, dictionary, args.tokens)
        row = rows.count()
        for precision, published in H100.items():
            limits = [Roofline(row, published, number).per_second() for number in ROWS]
            table.append((name, precision, *(f"{low:,.0f} to {high:,.0f}" for low, high in limits)))
        cost = f"{row.operations / 1e6:.1f} MFLOP, {row.fused / 1e6:.2f} to {row.unfused / 1e6:.2f} MB"
        expected = Roofline(row, peaks, query_size(rows.tokens)).per_second()
        own.append((name, cost, f"{row.weights / 1e6:.1f}", *expected, rows.measure_rate()))
    print(tabulate(table, headers=("model", "precision", *(f"{number} rows a query" for number in ROWS))))
    headers = ("model", "cost of a row", "MB of weights", "rows a second, unfused", "fused", "measured")
    print(tabulate(own, headers=headers, floatfmt=",.0f"))
    print(f"this machine: {peaks.operations / 1e9:.0f} GFLOP/s in products, {peaks.bandwidth / 1e9:.1f} GB/s in copies")


if __name__ == "__main__":
    main()
