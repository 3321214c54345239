"""Decoding for the benchmarks: a few sentences in this process, or a whole test set with `fairseq-generate`."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

import fairseq_mh
from fairseq_mh.evaluation.scores import corpus_scores, read_trace
from fairseq_mh.files.output import in_order, read_output
from fairseq_mh.loading import load_checkpoint, parse_generate_options, to_device
from fairseq_mh.translation.generator import MHGenerator

PAPER = ("--mh-block-size", "1", "--mh-scan", "random", "--mh-init", "warm-start", "--mh-chains", "1")
PAPER += ("--mh-energy", "norm")
AT_ONE = ("--mh-temperature", "1", "--mh-final-temperature", "1", "--mh-proposal-temperature", "1")
PLUGIN = ("--user-dir", str(Path(fairseq_mh.__file__).parent))


class Decoder(NamedTuple):
    """A task, its model and its generator, which decode batches in this process."""

    task: Any
    model: torch.nn.Module
    generator: MHGenerator


def load_decoder(data: str, *more: str, subset: str = "test") -> Decoder:
    """Load a checkpoint and its generator.

    Args:
        data: a fairseq data folder with checkpoint.pt.
        more: options of `fairseq-generate`.
        subset: the subset whose sentences are loaded.
    """
    cfg = parse_generate_options(data, more)
    task, models = load_checkpoint(cfg)
    task.load_dataset(subset)
    return Decoder(task, models[0], task.build_generator(models, cfg.generation))


def sample_of(decoder: Decoder, sentences: int, first: int = 0, subset: str = "test") -> dict:
    """Return consecutive sentences as one batch, which is smaller at the end of the subset.

    Args:
        decoder: the result of `load_decoder`.
        sentences: the number of sentences.
        first: the index of the first sentence.
        subset: the name of a loaded subset.
    """
    dataset = decoder.task.dataset(subset)
    numbers = range(first, min(first + sentences, len(dataset)))
    return to_device(decoder.model, dataset.collater([dataset[n] for n in numbers]))


def trace_of(data: str, sentences: int, *options: str):
    """Return the trace of chains on the first sentences of the test set, as a data frame."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.jsonl"
        tracing = load_decoder(data, *options, "--mh-trace", str(path))
        tracing.generator.generate([tracing.model], sample_of(tracing, sentences))
        return read_trace(path)


def generate(data: str, *more: str, threads: int) -> dict[str, float]:
    """Run `fairseq-generate` on the whole test set.

    Args:
        data: a fairseq data folder with checkpoint.pt.
        more: options of `fairseq-generate`.
        threads: the number of threads.

    Returns:
        BLEU and chrF against the data's own targets, seconds, decoder rows, and the peak memory in GB.
    """
    command = [sys.executable, "-m", "fairseq_cli.generate", data, *PLUGIN, "--path", f"{data}/checkpoint.pt"]
    command += ["--gen-subset", "test", "--post-process", "sentencepiece", "--num-workers", "0", *more]
    with tempfile.NamedTemporaryFile("w+") as output:
        settings = os.environ | {"OMP_NUM_THREADS": str(threads)}
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=settings)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"a run failed: {' '.join(command)}")
        found = read_output(Path(output.name))
    scores = corpus_scores(*in_order(found.hypotheses, found.references))
    return {
        "sentences": len(found.hypotheses),
        "bleu": scores["bleu"],
        "chrf": scores["chrf"],
        "seconds": found.seconds,
        "rows": found.rows,
        "memory": usage.ru_maxrss / 2**20,
    }
