"""The decoders that `--mh-decoding` chooses from: each turns a start into hypotheses.

A decoder is a generator: it yields events (`ChainSweep`, `Pass`) while it decodes, and returns a `Decoded`. To add a
sampler, give `run_chains` another kernel instead of writing another loop.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fairseq_mh.files.trace import trace_records
from fairseq_mh.mcmc.chain import EndedSweep, convert_events, run
from fairseq_mh.mcmc.energy import Energy
from fairseq_mh.mcmc.record import Run, Sweep
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.mcmc.state import Cost
from fairseq_mh.sampler_config import kernel_of, schedule_of
from fairseq_mh.translation.chains.mask_predict import Filled, passes
from fairseq_mh.translation.chains.plan import Plan
from fairseq_mh.translation.chains.starts import STARTS, Start, at_likeliest_lengths, free
from fairseq_mh.translation.options.config import TranslationMHConfig
from fairseq_mh.translation.ranking.selection import LENGTH_SELECTIONS, SELECTIONS, Hypothesis, hypotheses


class ChainSweep(NamedTuple):
    """The event that a chain has ended a sweep.

    Attributes:
        plan: the plan of all chains.
        energy: the energy of the target.
        total: the number of sweeps that the chains of the batch will run.
        ended: the chain and its sweep.
        spent: decoder rows that the start of this chain took; they are counted in sweep 0.
        evaluation_counts: whether the evaluation of the start counts as cost.
    """

    plan: Plan
    energy: Energy
    total: int
    ended: EndedSweep
    spent: int
    evaluation_counts: bool

    def read(self) -> Sweep:
        """Return the sweep of this chain (N = 1), on the CPU."""
        return counted(self.ended.read(), torch.tensor([self.spent]), self.evaluation_counts)


class Pass(NamedTuple):
    """The event that mask-predict has filled or masked positions.

    Attributes:
        plan: the plan of all chains.
        tokens: (N, T) long, padded.
        masked: (N, T) bool, the positions that are masked.
    """

    plan: Plan
    tokens: Tensor
    masked: Tensor


class Decoded(NamedTuple):
    """The hypotheses of a batch, and the record of its chains.

    Attributes:
        found: the hypotheses, in no particular order.
        sweeps: the sweeps of the chains. Sweep 0 also counts the rows of the start. Mask-predict has sweep 0 or none.
        cost: the rows of each chain, (N,) long each.
        history: the successive states of the chains: pairs of tokens (N, T) long and masked positions (N, T) bool.
        plan: the plan of the N chains.
        energy: the energy of the target.
        order: the energy that orders hypotheses.
    """

    found: list[Hypothesis]
    sweeps: list[Sweep]
    cost: Cost
    history: list[tuple[Tensor, Tensor]]
    plan: Plan
    energy: Energy
    order: Energy

    def records(self, ids: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Yield the trace records of the chains, one chain after another.

        Args:
            ids: the `id` of each sentence of the batch.
        """
        sentences, lengths, chains, _ = (part.tolist() for part in self.plan)
        return trace_records(self.sweeps, self.energy, [ids[sentence] for sentence in sentences], lengths, chains)


Event = ChainSweep | Pass
Decoding = Generator[Event, None, Decoded]


def run_chains(start: Start, cfg: TranslationMHConfig, metropolis: bool) -> Decoding:
    """Run Metropolis-Hastings chains, or degenerate Gibbs chains if `metropolis` is False."""
    if cfg.mh_length_select == "mask-predict":
        start = at_likeliest_lengths(start)
    filled = STARTS[str(cfg.mh_init)](start)
    schedule = schedule_of(cfg, cfg.mh_burn_in)
    finished = yield from _run(start, cfg, schedule, filled, metropolis)
    snapshots = SELECTIONS[str(cfg.mh_select)](finished, schedule)
    found = hypotheses(snapshots, start.plan, start.energy, start.order, str(cfg.mh_length_select))
    cost = Cost(*(torch.stack(rows).sum(0) for rows in zip(*(sweep.cost for sweep in finished.sweeps), strict=True)))
    nothing_masked = torch.zeros(start.blank.shape, dtype=torch.bool)
    history = [(sweep.end.tokens, nothing_masked) for sweep in finished.sweeps]
    return Decoded(found, finished.sweeps, cost, history, start.plan, start.energy, start.order)


def fill(start: Start, cfg: TranslationMHConfig) -> Decoding:
    """Fill the targets by mask-predict, and score each by the mean log-probability of its tokens.

    If `start.evaluated` is set, the energy is evaluated for trace and output. These rows are not counted as cost.
    """
    running = passes(start.lm, start.blank, start.plan.context, start.passes, free(start))
    filled: Filled = yield from convert_events(running, lambda step: [Pass(start.plan, *step)])
    sweeps: list[Sweep] = []
    energies = torch.full(filled.rows.shape, torch.nan)
    by_name = dict.fromkeys(start.energy.columns, energies)
    if start.evaluated:
        sweeps = (yield from _run(start, cfg, Schedule(0), filled, metropolis=True, evaluation_counts=False)).sweeps
        scores = sweeps[0].end.scores
        energies, by_name = start.energy.total(scores), start.energy.by_name(scores)
    ranked = LENGTH_SELECTIONS[str(cfg.mh_length_select)](-filled.scores.sum(1).cpu(), start.plan).tolist()
    tokens, positional = filled.tokens.cpu(), filled.scores.cpu()
    found = [
        Hypothesis(
            chain=n,
            sweep=0,
            tokens=tokens[n, :length],
            positional=positional[n, :length],
            score=ranked[n],
            energy=float(energies[n]),
            energies={name: float(nats[n]) for name, nats in by_name.items()},
            passes=start.passes,
        )
        for n, length in enumerate(start.plan.lengths.tolist())
    ]
    rows = (filled.rows + start.spent).cpu()
    return Decoded(
        found, sweeps, Cost(rows, torch.zeros_like(rows)), filled.history, start.plan, start.energy, start.order
    )


def _run(
    start: Start,
    cfg: TranslationMHConfig,
    schedule: Schedule,
    filled: Filled,
    metropolis: bool,
    evaluation_counts: bool = True,
) -> Generator[ChainSweep, None, Run]:
    """Run the chains from filled targets, and count the decoder rows of the start in sweep 0.

    Args:
        start: the batch.
        cfg: the options.
        schedule: the schedule of the chains.
        filled: the first states.
        metropolis: False for degenerate Gibbs.
        evaluation_counts: whether sweep 0 also counts the rows that evaluated the first states.
    """
    spent = (filled.rows + start.spent).cpu()
    kernel = kernel_of(cfg, start.lm, metropolis, start.energy, start.phrase_order)
    plan, total = start.plan, len(filled.tokens) * schedule.sweeps
    running = run(kernel, filled.tokens, plan.context, start.streams, schedule, start.held)
    finished = yield from convert_events(
        running,
        lambda ended: [ChainSweep(plan, start.energy, total, ended, int(spent[ended.chain]), evaluation_counts)],
    )
    first, *others = finished.sweeps
    return finished._replace(sweeps=[counted(first, spent, evaluation_counts), *others])


def counted(sweep: Sweep, spent: Tensor, evaluation_counts: bool) -> Sweep:
    """Add the rows (N,) of the start to a sweep if it is sweep 0; return other sweeps unchanged."""
    if sweep.end.sweep[0]:
        return sweep
    cost = Cost(*(rows * evaluation_counts for rows in sweep.cost))
    return sweep._replace(cost=cost.plus(spent))


DECODERS: dict[str, Callable[[Start, TranslationMHConfig], Decoding]] = {
    "mh": partial(run_chains, metropolis=True),
    "gibbs": partial(run_chains, metropolis=False),
    "mask-predict": fill,
}
