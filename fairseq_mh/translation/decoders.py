"""What `--mh-decoding` chooses from: from a start to candidates.

A new decoding that is a sampler is another kernel for `sample`, not another loop.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_mh.mcmc.chain import run
from fairseq_mh.mcmc.energy import COLUMNS
from fairseq_mh.mcmc.record import Run, Sweep
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.sampler_config import energy_of, kernel_of
from fairseq_mh.translation.options import TranslationMHConfig, one_pass_of, translation_schedule
from fairseq_mh.translation.selection import LENGTH_SELECTIONS, SELECTIONS, Hypothesis, hypotheses
from fairseq_mh.translation.start import STARTS, Plan, Start, at_likeliest_lengths, mask_predict_start


class Decoded(NamedTuple):
    found: list[Hypothesis]
    sweeps: list[Sweep]  # rows of the start included; of mask-predict one, and only where a trace is wanted
    rows: Tensor  # (N,) long: decoder rows spent on decoding
    history: list[tuple[Tensor, Tensor]]  # (tokens, masked), each (N, T), of what the chain went through
    plan: Plan  # of these N chains


def sample(start: Start, cfg: TranslationMHConfig, metropolis: bool) -> Decoded:
    """Run the chains."""
    if cfg.mh_length_select == "mask-predict":
        start = at_likeliest_lengths(start)
    filled = STARTS[str(cfg.mh_init)](start)
    finished = _run(start, cfg, translation_schedule(cfg), filled.tokens, metropolis)
    first = finished.sweeps[0]
    sweeps = [first._replace(rows=first.rows + (filled.rows + start.spent).cpu()), *finished.sweeps[1:]]
    snapshots = SELECTIONS[str(cfg.mh_select)](finished, translation_schedule(cfg))
    found = hypotheses(snapshots, start.plan, energy_of(cfg), str(cfg.mh_length_select))
    rows = torch.stack([sweep.rows for sweep in sweeps]).sum(0)
    nowhere = torch.zeros(start.blank.shape, dtype=torch.bool)
    return Decoded(found, sweeps, rows, [(sweep.end.tokens, nowhere) for sweep in sweeps], start.plan)


def fill(start: Start, cfg: TranslationMHConfig) -> Decoded:
    """Mask-predict; its score is the mean log-probability that it gave its own tokens."""
    filled = mask_predict_start(start)
    sweeps = []
    if cfg.mh_trace:  # the energies are for the trace alone, and no cost of mask-predict
        first = _run(start, cfg, Schedule(0), filled.tokens, metropolis=True).sweeps[0]
        sweeps = [first._replace(rows=filled.rows.cpu())]
    scores = LENGTH_SELECTIONS[str(cfg.mh_length_select)](-filled.scores.sum(1).cpu(), start.plan).tolist()
    tokens, positional, unevaluated = filled.tokens.cpu(), filled.scores.cpu(), dict.fromkeys(COLUMNS, math.nan)
    found = [
        Hypothesis(n, start.passes - 1, tokens[n, :length], positional[n, :length], scores[n], unevaluated)
        for n, length in enumerate(start.plan.lengths.tolist())
    ]
    return Decoded(found, sweeps, filled.rows.cpu(), filled.history, start.plan)


def _run(start: Start, cfg: TranslationMHConfig, schedule: Schedule, tokens: Tensor, metropolis: bool) -> Run:
    kernel = kernel_of(cfg, start.lm, metropolis, one_pass_of(start.lm, start.electric))
    if (progress := start.progress) is None:
        return run(kernel, tokens, start.plan.context, start.streams, schedule)
    total = len(tokens) * schedule.sweeps
    return run(kernel, tokens, start.plan.context, start.streams, schedule, lambda ended: progress(ended, total))


DECODERS: dict[str, Callable[[Start, TranslationMHConfig], Decoded]] = {
    "mh": partial(sample, metropolis=True),
    "gibbs": partial(sample, metropolis=False),
    "mask-predict": fill,
}
