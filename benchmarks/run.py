#!/usr/bin/env python3
"""Measure the package's speed, as ratios of times of one run on one machine.

    python -m benchmarks.run models/libreoffice-de-en
    python -m benchmarks.run DATA --device cuda --output results.json

DATA is a fairseq data folder that holds a CMLM's checkpoint.pt. The device's roofline is printed next to each figure
that has one, as a range: at the lower end no two operations are fused, and at the upper end each layer is one
operation. The peaks are the published ones of a known GPU; for other devices the same run measures products and copies.
"""

import argparse
import json
import logging
import platform
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import torch
from tabulate import tabulate

from benchmarks.algorithm_1 import Chain
from benchmarks.decoding import AT_ONE, PAPER, generate, load_decoder, sample_of, trace_of
from benchmarks.peaks import Roofline, peaks_of
from benchmarks.rates import EnergyRows
from benchmarks.timing import seconds
from fairseq_mh.masked_lms.dictionaries import allowed_symbols
from fairseq_mh.mcmc.masked_lm import query_size

BATCH = 500  # number of sentences, about as many as in a batch of fairseq-generate (12,000 tokens)
MASK_PREDICT = ("--task", "translation_lev", "--iter-decode-max-iter", "9", "--iter-decode-force-max-iter")
MASK_PREDICT += (
    "--iter-decode-with-beam",
    "5",
    "--required-batch-size-multiple",
    "1",
)  # without this option fairseq drops sentences
PRESETS_COMPARED = ("rerank", "fast", "default", "best")


def rows_per_update(trace: pl.DataFrame) -> dict[str, float]:
    """Return the decoder rows of an update in units of the chain's length, the novel rate, and their difference.

    Args:
        trace: the trace of any number of chains.
    """
    moves = trace.filter(pl.col("sweep") > 0)
    units = (moves["proposals"] * moves["length"]).sum()
    novel = (moves["novel"] * moves["length"]).sum() / units
    rows = moves["rows"].sum() / units
    return {"rows per update / T": rows, "novel rate": novel, "above novel": rows - novel}


def against_algorithm_1(data: str, sentences: int, few: int, *more: str) -> dict[str, float]:
    """Compare the seconds of the package and of Algorithm 1 for the paper's annealed chains, one chain a sentence.

    Both times are divided by the sum of the lengths T of the chains over all proposals.

    Args:
        data: a fairseq data folder with checkpoint.pt.
        sentences: the number of sentences that the package decodes, in one batch.
        few: the number of these sentences that Algorithm 1 decodes, one after the other.
        more: options of `fairseq-generate`.
    """
    trace = trace_of(data, sentences, *PAPER, *more)  # this run also warms up the process
    loaded = load_decoder(data, *PAPER, *more)
    sample = sample_of(loaded, sentences)
    ours = seconds(lambda: loaded.generator.generate([loaded.model], sample))
    lengths = dict(trace.filter(pl.col("sweep") == 0).select("id", "length").iter_rows())
    dictionary, cfg = loaded.task.target_dictionary, loaded.task.cfg
    annealing = (cfg.mh_sweeps, cfg.mh_temperature, cfg.mh_final_temperature, cfg.mh_proposal_temperature)
    allowed = allowed_symbols(dictionary)
    proposed_tokens = 0

    def run_algorithm_1() -> None:
        nonlocal proposed_tokens
        for n, source in enumerate(sample["net_input"]["src_tokens"][:few]):
            length = lengths[int(sample["id"][n])]
            chain = Chain(loaded.model, dictionary, allowed, source[source != dictionary.pad()][None], seed=n)
            proposed_tokens += length * chain.run(length, *annealing)[1]

    theirs = seconds(run_algorithm_1) / proposed_tokens
    ours /= (trace["proposals"] * trace["length"]).sum()
    return {"sentences": len(sample["id"]), "of algorithm 1": few, "ratio": theirs / ours}


def main():
    """Print each part of the figures as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="fairseq data folder with a checkpoint.pt")
    parser.add_argument("--sentences", type=int, default=100, help="sentences, if a part does not decode all")
    parser.add_argument("--few", type=int, default=16, help="sentences that Algorithm 1, which is slow, decodes")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: %(default)s")
    parser.add_argument("--expert", metavar="FILE", help="an autoregressive model that orders translations of `best`")
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("--device cuda: this machine has no CUDA device")
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    figures: dict[str, dict] = {}
    for part, measured, limits in parts(args.data, args.sentences, args.few, args.device, args.expert):
        figures[part] = measured | {f"roofline of {name}": limit for name, limit in limits.items()}
        rows = [(part, name, value, format_limits(limits.get(name))) for name, value in measured.items()]
        print(tabulate(rows, tablefmt="plain", floatfmt=".3g"), flush=True)
    if args.output:
        args.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def format_limits(limit: tuple[float, float] | None) -> str:
    return f"roofline {limit[0]:,.3g} to {limit[1]:,.3g}" if limit else ""


@torch.no_grad()
def parts(
    data: str, sentences: int, few: int, device: str, expert: str | None = None
) -> Iterator[tuple[str, dict, dict]]:
    """Measure one part after the other; each part takes minutes. The arguments are the options of the program.

    Yields:
        A part's name, its figures, and the roofline of the figures that have one.
    """
    device_options = ("--cpu",) if device == "cpu" else ()
    loaded = load_decoder(data, *device_options)
    source, peaks = peaks_of(device)
    yield "machine", machine(device), {}
    yield f"{source} peaks", {"GFLOP/s": peaks.operations / 1e9, "GB/s": peaks.bandwidth / 1e9}, {}
    rows = EnergyRows(loaded.model, loaded.task.target_dictionary, sample_of(loaded, sentences))
    roofline = Roofline(rows.cost(), peaks, query_size(rows.tokens))
    decoder = rows.figures()
    yield "decoder", decoder, roofline.limits(decoder)
    yield "one temperature", rows_per_update(trace_of(data, sentences, *PAPER, *AT_ONE, *device_options)), {}
    yield "annealed", rows_per_update(trace_of(data, sentences, *PAPER, *device_options)), {}
    yield "against algorithm 1", against_algorithm_1(data, BATCH, few, *device_options), {}
    here = torch.get_num_threads()
    for threads in sorted({1, here} if device == "cpu" else {here}):
        for name, found in decoders(data, expert, threads, *device_options):
            yield (
                f"{name}, {threads} thread{'s' * (threads > 1)}",
                found,
                roofline.limits(found) if threads == here else {},
            )


def decoders(data: str, expert: str | None, threads: int, *more: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Decode the whole test set by the stock decoder and by presets.

    Args:
        data: a fairseq data folder with checkpoint.pt.
        expert: an autoregressive model that orders the translations of `best`, if there is one.
        threads: the number of threads.
        more: options of `fairseq-generate`.

    Yields:
        A decoder's name, and its figures; its seconds also in units of those of the stock decoder.
    """
    runs = {"stock mask-predict, 5 lengths": MASK_PREDICT}
    runs |= {f"preset {name}": ("--task", "translation_mh", "--mh-preset", name) for name in PRESETS_COMPARED}
    if expert:
        ordered = ("--mh-energy", f"two-stream,{expert}:0/0.5")
        runs["preset best, ordered with the expert"] = (*runs["preset best"], *ordered)
    stock = None
    for name, options in runs.items():
        found = generate(data, *options, *more, threads=threads)
        stock = stock or found["seconds"]
        yield name, {**found, "seconds / stock": found["seconds"] / stock}


def machine(device: str) -> dict[str, Any]:
    """Return a description of the machine."""
    gpu = {"GPU": torch.cuda.get_device_name()} if device == "cuda" else {}
    return {"processor": processor(), **gpu, "threads": torch.get_num_threads(), "torch": torch.__version__}


def processor() -> str:
    """Return the processor's name from the operating system."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
