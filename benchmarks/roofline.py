#!/usr/bin/env python3
"""What a decoder row takes, counted, and how many rows a second an accelerator's published peaks then allow.

    python -m benchmarks.roofline models/libreoffice-de-en

A row of T tokens that masks one position, with its logits, takes F operations and moves A bytes, and a query of M rows
reads the W bytes of the weights once:

    seconds(M) = max(M F / peak, (W + M A) / bandwidth)

F and the larger A, in which no two operations are fused, are counted by torch while the package's decoder runs; the
smaller A is what enters and leaves each layer. The same formula with this machine's measured peaks is held against its
measured rows a second. None of it was measured on an accelerator: a real one stays below its roofline.
"""

import argparse

import torch
from tabulate import tabulate

from benchmarks.decoding import load_decoder
from benchmarks.peaks import H100, Roofline, measured_peaks
from benchmarks.row_cost import TOKENS, Rows, transformer_base
from fairseq_mh.mcmc.masked_lm import query_size

ROWS = (64, 2048, 16384)  # of a query


@torch.no_grad()
def main():
    """Print rows a second for each model, and the formula against this machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="fairseq data folders with a checkpoint.pt")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of a sentence; default: %(default)s")
    args = parser.parse_args()
    models = {
        data: (decoder.model, decoder.task.target_dictionary)
        for data in args.data
        for decoder in [load_decoder(data, "--cpu")]
    }
    peaks, table, own = measured_peaks(), [], []
    for name, (model, dictionary) in {**models, "Transformer base": transformer_base()}.items():
        rows = Rows(model, dictionary, args.tokens)
        row = rows.counted()
        for precision, published in H100.items():
            limits = [Roofline(row, published, number).per_second() for number in ROWS]
            table.append((name, precision, *(f"{low:,.0f} to {high:,.0f}" for low, high in limits)))
        said = f"{row.operations / 1e6:.1f} MFLOP, {row.fused / 1e6:.2f} to {row.unfused / 1e6:.2f} MB a row"
        expected = Roofline(row, peaks, query_size(rows.tokens)).per_second()
        own.append((name, said, f"{row.weights / 1e6:.1f}", *expected, rows.measured()))
    print(tabulate(table, headers=("model", "precision", *(f"{number} rows a query" for number in ROWS))))
    print(tabulate(own, headers=("model", "row", "MB of weights", "unfused", "fused", "measured"), floatfmt=",.0f"))
    print(f"this machine: {peaks.operations / 1e9:.0f} GFLOP/s in products, {peaks.bandwidth / 1e9:.1f} GB/s in copies")


if __name__ == "__main__":
    main()
