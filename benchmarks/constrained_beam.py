#!/usr/bin/env python3
"""Run `fairseq-interactive` with its own tasks, whose constrained beam search fails for some sentences.

    python -m benchmarks.constrained_beam DATA --task translation --path teacher.pt --constraints ...

There its assertion `step < max_len` ends the run. Here the batch is then translated sentence by sentence, a failing one
without its phrases, and a line on standard error says how many there were.
"""

import sys

import torch
from fairseq.tasks.translation import TranslationTask
from fairseq_cli.interactive import cli_main

from fairseq_mh.files.checkpoints import allow_fairseq_types

inference_step = TranslationTask.inference_step
failed = 0


def step_by_step(task, generator, models, sample, prefix_tokens=None, constraints=None):
    """Translate a batch, or, where its search fails, its sentences one by one."""
    global failed
    try:
        return inference_step(task, generator, models, sample, prefix_tokens, constraints)
    except AssertionError:
        source = sample["net_input"]
    if len(source["src_tokens"]) == 1:
        failed += 1
        return inference_step(task, generator, models, sample, prefix_tokens, torch.zeros_like(constraints))
    found = []
    for n in range(len(source["src_tokens"])):
        one = {"net_input": {name: source[name][n : n + 1] for name in ("src_tokens", "src_lengths")}}
        found += step_by_step(task, generator, models, one, None, constraints[n : n + 1])
    return found


if __name__ == "__main__":
    allow_fairseq_types()  # torch's safe loader, which fairseq's own tasks know nothing of
    TranslationTask.inference_step = step_by_step
    cli_main()
    print(f"{failed} sentences were translated without their phrases", file=sys.stderr)
