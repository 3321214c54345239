#!/usr/bin/env python3
"""Draw the plots of the documentation's gallery: energy against sweeps, its autocorrelation, quality against rows.

    python -m scripts.gallery models/libreoffice-de-en --output docs/images      # extras `eval` and `bench`

The first two plots are of chains that the program runs, which takes less than a minute; the third is of figures in
results/. The program writes OUTPUT/energy.svg, OUTPUT/autocorrelation.svg and OUTPUT/quality.svg.
"""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from arviz_stats.base import array_stats
from matplotlib.axes import Axes

from fairseq_mh import Translator

RESULTS = Path(__file__).parents[1] / "results"
SOURCE, SHORT_SOURCE = "Klicken Sie auf die Schaltfläche, um das Dialogfeld zu öffnen.", "Wählen Sie eine Zelle aus."
BLUE, LIGHT_BLUE, ORANGE, GREEN, GREY = "#0072B2", "#9ECAE1", "#D55E00", "#009E73", "#767676"
WIDE, HIGH = (6, 4), (6, 6.5)  # inches: a phone shows the letters of wider figures too small
STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "svg.fonttype": "none",  # letters stay text: the files are small
    "svg.hashsalt": "gallery",  # the same plot gives the same file
}

BLOCKS = {1: "one position at a time", 3: "three positions at once"}

PASSES = {"decoder": "mask-predict", "iter_decode_max_iter": 9}
MEASURED = "multi30k/results.csv"
GIBBS = {"decoder": "degenerate Gibbs", "mh_proposal_temperature": 0.8}
LIKELIEST = "MH from mask-predict at the likeliest of 5 lengths"


class Decoder(NamedTuple):
    """A decoder of the plot of quality, without a second model: where its figures are, and where its name stands."""

    name: str
    colour: str
    file: str  # in results/
    values: Mapping[str, str | float]  # by which its runs are found: columns and values
    label: tuple[int, int]  # from its point to the name, in points


DECODERS = (
    Decoder("mask-predict", GREY, MEASURED, {**PASSES, "iter_decode_with_beam": 1}, (7, -6)),
    Decoder("mask-predict, 5 lengths", GREY, MEASURED, {**PASSES, "iter_decode_with_beam": 5}, (7, -11)),
    Decoder("preset rerank", GREEN, "better/presets.csv", {"decoder": "rerank"}, (-7, 0)),
    Decoder("preset default", BLUE, "one_pass/results.csv", {"decoder": "MH, informed blocks, 3 chains"}, (7, -7)),
    Decoder("preset fast", BLUE, "same_wall_clock/results.csv", {"decoder": LIKELIEST}, (7, 5)),
    Decoder("preset best", BLUE, "better/presets.csv", {"decoder": "best"}, (-7, 0)),
    Decoder("paper's chain", BLUE, MEASURED, {"decoder": "MH, single site", "mh_energy": "norm"}, (-7, 0)),
    Decoder("degenerate Gibbs", ORANGE, MEASURED, GIBBS, (-7, 0)),
)


def plot_energy(translator: Translator, source: str, axes: Axes, chains: int, sweeps: int) -> None:
    """Plot the energy of annealed chains after each sweep, and what the chain of the best translation holds there."""
    (found,) = translator.decode([source], chains=chains, sweeps=sweeps)
    best = found.translations[0]
    for chain in range(chains):
        energies = [record["energy"] for record in found.trace if record["chain"] == chain]
        told = {"color": BLUE, "linewidth": 2.5, "zorder": 3, "label": "the chain whose texts are above"}
        axes.plot(energies, **(told if chain == best.chain else {"color": LIGHT_BLUE}))
    (other,) = translator.decode([source], decoding="mask-predict")
    axes.axhline(other.translations[0].energy, color=GREY, linestyle="--", label="mask-predict's translation")
    texts = {}  # of the chain, and the sweep that each was first seen in
    for record in found.trace:
        if record["chain"] == best.chain:
            texts.setdefault(translator.text(record["tokens"]), record["sweep"])
    lines = [f"{f'after sweep {sweep}' if sweep else 'start'}: {text}" for text, sweep in texts.items()]
    axes.set_title("\n".join([f"German: {source}", *lines]), loc="left", fontsize="medium")
    axes.set(xlabel="sweeps", ylabel="energy, in nats (lower is better)", xticks=range(sweeps + 1), ylim=(0, None))
    axes.legend(frameon=False, loc="upper right")


def plot_autocorrelation(translator: Translator, source: str, axes: Axes, draws: int, lags: int = 15) -> None:
    """Plot the autocorrelation of the energy of four chains at temperature 1, for blocks of several sizes."""
    for colour, (size, name) in zip((BLUE, ORANGE), BLOCKS.items(), strict=True):
        blocks = {"block_size": size, "final_block_size": size}
        (drawn,) = translator.sample([source], draws=draws, chains=4, energy="two-stream", **blocks)
        energies = np.asarray(drawn.energies)
        moved = energies[np.ptp(energies, axis=1) > 0]  # a chain that stays where it is has no correlation
        if len(moved):
            axes.plot(array_stats.autocorr(moved, axis=1).mean(0)[: lags + 1], "o-", color=colour, label=name)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set(xlabel="sweeps from one state to the other", ylabel="autocorrelation of the energy")
    axes.legend(frameon=False)


def plot_quality(upper: Axes, lower: Axes) -> None:
    """Plot BLEU and chrF against the decoder rows of a sentence, for each of DECODERS."""
    for decoder in DECODERS:
        table = pl.read_csv(RESULTS / decoder.file, infer_schema_length=None)
        runs = table.filter(*(pl.col(column) == value for column, value in decoder.values.items()))
        rows, *quality = runs.select(pl.col("rows") / pl.col("sentences"), "bleu", "chrf").mean().row(0)
        label = {"textcoords": "offset points", "ha": "left" if decoder.label[0] > 0 else "right", "va": "center"}
        for axes, height in zip((upper, lower), quality, strict=True):
            axes.plot(rows, height, "o", color=decoder.colour)
            axes.annotate(decoder.name, (rows, height), decoder.label, **label)
    for axes, name in ((upper, "BLEU"), (lower, "chrF")):
        axes.set(xscale="log", ylabel=name, xlim=(7, 450))
        axes.set_xticks([10, 30, 100, 300], ["10", "30", "100", "300"])
        axes.minorticks_off()
    lower.set_xlabel("decoder rows for a sentence")


def draw(data: str, output: Path, chains: int = 12, sweeps: int = 6, draws: int = 800) -> list[Path]:
    """Draw all plots.

    Args:
        data: a fairseq data folder with checkpoint.pt.
        output: the folder of the images.
        chains: the number of chains of the first plot.
        sweeps: the number of their sweeps.
        draws: the number of draws of the second plot.

    Returns:
        The images.
    """
    translator = Translator.load(data)
    output.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        plots = {"energy": plt.subplots(figsize=WIDE), "autocorrelation": plt.subplots(figsize=WIDE)}
        plot_energy(translator, SOURCE, plots["energy"][1], chains, sweeps)
        plot_autocorrelation(translator, SHORT_SOURCE, plots["autocorrelation"][1], draws)
        plots["quality"] = plt.subplots(2, 1, figsize=HIGH, sharex=True)
        plot_quality(*plots["quality"][1])
        for name, (figure, _) in plots.items():
            figure.set_layout_engine("constrained")
            figure.savefig(output / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)
    return [output / f"{name}.svg" for name in plots]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="fairseq data folder with a checkpoint.pt")
    parser.add_argument("--output", type=Path, required=True, help="the folder of the images")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    for image in draw(args.data, args.output):
        print(image)


if __name__ == "__main__":
    main()
