"""The decoders that `--mh-decoding` chooses from: each turns a start into hypotheses.

A new decoder that is a sampler is another kernel for `sample`, not another loop.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_mh.mcmc.chain import run
from fairseq_mh.mcmc.record import Run, Sweep
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.mcmc.target import Energy
from fairseq_mh.sampler_config import kernel_of
from fairseq_mh.translation.chains.mask_predict import Filled, mask_predict
from fairseq_mh.translation.chains.plan import Plan
from fairseq_mh.translation.chains.starts import STARTS, Start, at_likeliest_lengths, free
from fairseq_mh.translation.options.config import TranslationMHConfig, translation_schedule
from fairseq_mh.translation.ranking.selection import LENGTH_SELECTIONS, SELECTIONS, Hypothesis, hypotheses


class Decoded(NamedTuple):
    """The hypotheses of a batch, and what the chains did."""

    found: list[Hypothesis]
    sweeps: list[Sweep]  # sweep 0 counts the rows of the start, too; mask-predict has one sweep, or none
    rows: Tensor  # (N,) long: decoder rows spent on decoding
    expert_rows: Tensor  # (N,) long: rows of autoregressive models
    history: list[tuple[Tensor, Tensor]]  # (tokens, masked), each (N, T): the states of the chains, in order
    plan: Plan  # of the N chains
    energy: Energy  # that they sampled


def sample(start: Start, cfg: TranslationMHConfig, metropolis: bool) -> Decoded:
    """Run the chains: Metropolis-Hastings, or degenerate Gibbs where `metropolis` is False."""
    if cfg.mh_length_select == "mask-predict":
        start = at_likeliest_lengths(start)
    filled = STARTS[str(cfg.mh_init)](start)
    finished = _run(start, cfg, translation_schedule(cfg), filled, metropolis)
    snapshots = SELECTIONS[str(cfg.mh_select)](finished, translation_schedule(cfg))
    found = hypotheses(snapshots, start.plan, start.energy, str(cfg.mh_length_select))
    rows = torch.stack([sweep.rows for sweep in finished.sweeps]).sum(0)
    expert_rows = torch.stack([sweep.expert_rows for sweep in finished.sweeps]).sum(0)
    nothing_masked = torch.zeros(start.blank.shape, dtype=torch.bool)
    history = [(sweep.end.tokens, nothing_masked) for sweep in finished.sweeps]
    return Decoded(found, finished.sweeps, rows, expert_rows, history, start.plan, start.energy)


def fill(start: Start, cfg: TranslationMHConfig) -> Decoded:
    """Fill the targets by mask-predict, whose score is the mean log-probability of its tokens when it chose them."""
    seen = partial(start.pass_observer, start.plan) if start.pass_observer else None
    filled = mask_predict(start.lm, start.blank, start.plan.context, start.passes, free(start), seen)
    sweeps: list[Sweep] = []
    if cfg.mh_trace or start.observer:  # the energies are for them alone; their rows are no cost of mask-predict
        sweeps = _run(start, cfg, Schedule(0), filled, metropolis=True, evaluation_counts=False).sweeps
    scores = LENGTH_SELECTIONS[str(cfg.mh_length_select)](-filled.scores.sum(1).cpu(), start.plan).tolist()
    tokens, positional, nan = filled.tokens.cpu(), filled.scores.cpu(), math.nan
    unevaluated = dict.fromkeys(start.energy.columns, nan)
    found = [
        Hypothesis(n, start.passes - 1, tokens[n, :length], positional[n, :length], scores[n], nan, unevaluated)
        for n, length in enumerate(start.plan.lengths.tolist())
    ]
    rows = (filled.rows + start.spent).cpu()
    return Decoded(found, sweeps, rows, torch.zeros_like(rows), filled.history, start.plan, start.energy)


def _run(
    start: Start,
    cfg: TranslationMHConfig,
    schedule: Schedule,
    filled: Filled,
    metropolis: bool,
    evaluation_counts: bool = True,
) -> Run:
    """Run the chains from a start, whose decoder rows sweep 0 counts, with those of its evaluation or without."""
    spent = (filled.rows + start.spent).cpu()

    def counted(sweep: Sweep, of_start: Tensor) -> Sweep:
        return sweep if sweep.end.sweep[0] else sweep._replace(rows=of_start + sweep.rows * evaluation_counts)

    kernel = kernel_of(cfg, start.lm, metropolis, start.energy, start.relocation)
    total = len(filled.tokens) * schedule.sweeps
    progress, observer = start.progress, start.observer
    told = (lambda ended: progress(ended, total)) if progress else None
    plan, energy = start.plan, start.energy
    shown = (lambda n, sweep: observer(plan, n, counted(sweep, spent[n]), energy)) if observer else None
    finished = run(kernel, filled.tokens, plan.context, start.streams, schedule, told, start.held, shown)
    return finished._replace(sweeps=[counted(sweep, spent) for sweep in finished.sweeps])


DECODERS: dict[str, Callable[[Start, TranslationMHConfig], Decoded]] = {
    "mh": partial(sample, metropolis=True),
    "gibbs": partial(sample, metropolis=False),
    "mask-predict": fill,
}
