#!/usr/bin/env python3
"""Measure decoder rows and seconds against target length, chains and sentences; write JSON and a plot.

python -m benchmarks.scaling models/libreoffice-de-en --output benchmarks/scaling
"""

import argparse
import json
import logging
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from benchmarks.decoding import load_decoder, sample_of
from benchmarks.timing import seconds

SIZES = {
    "target length": (10, 20, 40, 60),
    "chains a sentence": (1, 2, 4, 8, 16),
    "sentences": (1, 4, 16, 64),
}
FIXED = {"target length": 20, "chains a sentence": 1, "sentences": 4}


def cost(data: str, sizes: dict[str, int]) -> dict[str, float]:
    """Return the rows and seconds for each chain of a batch, decoded with E_norm and otherwise default options.

    Args:
        data: a fairseq data folder with checkpoint.pt.
        sizes: the target length, the chains a sentence, and the number of sentences (see FIXED).
    """
    own = ("--mh-energy", "norm", "--mh-chains", str(sizes["chains a sentence"]))
    loaded = load_decoder(data, "--mh-gold-length", *own)
    sample = sample_of(loaded, sizes["sentences"])
    symbol = loaded.task.target_dictionary.nspecial
    sample["target"] = torch.full((sizes["sentences"], sizes["target length"]), symbol)  # only the length matters
    taken = seconds(lambda: loaded.generator.generate([loaded.model], sample))
    chains = sizes["sentences"] * sizes["chains a sentence"]
    return {"rows": loaded.generator.rows_spent / chains, "seconds": taken / chains}


def plot(figures: dict[str, dict[int, dict[str, float]]], path: Path) -> None:
    """Plot the cost of one chain in each experiment.

    Args:
        figures: experiment -> size -> cost.
        path: the image file to write.
    """
    _, axes = plt.subplots(1, len(figures), figsize=(11, 3.2), layout="constrained")
    for axis, (name, costs) in zip(axes, figures.items(), strict=True):
        other = axis.twinx()
        for axes_of_kind, kind, colour in ((axis, "rows", "#0072B2"), (other, "seconds", "#D55E00")):
            axes_of_kind.plot(list(costs), [cost[kind] for cost in costs.values()], "o-", color=colour)
            axes_of_kind.set_ylabel(f"{kind} a chain", color=colour)
            axes_of_kind.set_ylim(bottom=0)
        axis.set_xlabel(name)
        axis.set_xticks(list(costs))
    plt.savefig(path)


def main():
    """Measure all sizes and write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="fairseq data folder with a checkpoint.pt")
    parser.add_argument("--output", type=Path, required=True, help="write OUTPUT.json and OUTPUT.svg")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    cost(args.data, FIXED)  # this run warms up the process
    with torch.no_grad():
        figures = {
            name: {size: cost(args.data, {**FIXED, name: size}) for size in sizes} for name, sizes in SIZES.items()
        }
    args.output.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    plot(figures, args.output.with_suffix(".svg"))


if __name__ == "__main__":
    main()
