#!/usr/bin/env python3
"""Run `fairseq-interactive` with fairseq's own tasks, even if constrained beam search fails for some sentences.

    python -m benchmarks.constrained_beam DATA --task translation --path teacher.pt --constraints ...

Constrained beam search fails with the assertion `step < max_len`, which ends a run of fairseq. This program then
translates the batch sentence by sentence, and a failing sentence without its phrases. A line on standard error says how
many sentences failed.
"""

import sys

import torch
from fairseq.tasks.translation import TranslationTask
from fairseq_cli.interactive import cli_main

from fairseq_mh.files.checkpoints import allow_fairseq_types

inference_step = TranslationTask.inference_step
failed = 0


def translate(task, generator, models, sample, prefix_tokens=None, constraints=None):
    """Translate a batch; if its search fails, translate its sentences one by one."""
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
        found += translate(task, generator, models, one, None, constraints[n : n + 1])
    return found


if __name__ == "__main__":
    allow_fairseq_types()  # torch's safe loader refuses them otherwise, and fairseq's own tasks do not allow them
    TranslationTask.inference_step = translate
    cli_main()
    print(f"{failed} sentences were translated without their phrases", file=sys.stderr)
