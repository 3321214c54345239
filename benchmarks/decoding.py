"""Decoding as a user does it: in this process on a few sentences, or `fairseq-generate` on a whole test set."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from fairseq import checkpoint_utils, options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

import fairseq_mh.tasks.translation_mh  # registers the task
from fairseq_mh.evaluation.output import in_order, read_output
from fairseq_mh.evaluation.scores import corpus_scores, read_trace

PAPER = ("--mh-proposal", "single", "--mh-scan", "random", "--mh-init", "warm-start", "--mh-chains", "1")
AT_ONE = ("--mh-temperature", "1", "--mh-final-temperature", "1", "--mh-proposal-temperature", "1")
PLUGIN = ("--user-dir", str(Path(fairseq_mh.__file__).parent))


class Loaded(NamedTuple):
    task: object
    model: torch.nn.Module
    generator: object


def load(data: str, *more: str, subset: str = "test") -> Loaded:
    """A checkpoint and its generator, from fairseq-generate's own options."""
    parser = options.get_generation_parser(default_task="translation_mh")
    arguments = [data, "--task", "translation_mh", "--path", f"{data}/checkpoint.pt", *more]
    cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, arguments))
    task = tasks.setup_task(cfg.task)
    (model,), _ = checkpoint_utils.load_model_ensemble([cfg.common_eval.path], task=task)
    task.load_dataset(subset)
    return Loaded(task, model.eval(), task.build_generator([model], cfg.generation))


def sample_of(loaded: Loaded, sentences: int, first: int = 0, subset: str = "test") -> dict:
    """So many sentences from this one on, as far as there are, as one batch."""
    dataset = loaded.task.dataset(subset)
    return dataset.collater([dataset[n] for n in range(first, min(first + sentences, len(dataset)))])


def trace_of(data: str, sentences: int, *options: str):
    """The trace of chains on the first sentences of the test set."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.jsonl"
        loaded = load(data, *options, "--mh-trace", str(path))
        loaded.generator.generate([loaded.model], sample_of(loaded, sentences))
        return read_trace(path)


def generate(data: str, *more: str) -> dict[str, float]:
    """`fairseq-generate` on the whole test set: BLEU against the data's own targets, seconds, and peak memory in GB."""
    command = [sys.executable, "-m", "fairseq_cli.generate", data, *PLUGIN, "--path", f"{data}/checkpoint.pt"]
    command += ["--gen-subset", "test", "--post-process", "sentencepiece", "--num-workers", "0", *more]
    with tempfile.NamedTemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
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
