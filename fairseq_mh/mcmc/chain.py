"""The sampler's loop: rounds in which chains propose, are evaluated, and are recorded.

Chains do not wait for each other. In a round every chain whose candidate is decided proposes again, wherever in its
sweeps it is, and then the next stage of all chains that ask for decoder rows is evaluated together. The positions of
the chains live on the CPU, so few GPU synchronisations are needed, however many chains there are.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.mcmc.clocks import Clocks, copy_together
from fairseq_mh.mcmc.kernel import Kernel, Trial
from fairseq_mh.mcmc.move import Update
from fairseq_mh.mcmc.record import Record, Run, Sweep
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.mcmc.state import State, put, select

AHEAD = 4  # updates proposed at once from the same state: about as many as pass until one changes it
Event = TypeVar("Event")
Other = TypeVar("Other")
Result = TypeVar("Result")


def chain_stream(seed: int, sentence: int, length: int, chain: int) -> np.random.Generator:
    """Return the random stream of a chain, which is the same in any batch, shard or device."""
    return np.random.default_rng([seed, sentence, length, chain])


class EndedSweep(NamedTuple):
    """A sweep that one chain has ended.

    Attributes:
        chain: the index of the chain.
        number: the number of the sweep; 0 is the start.
        record: the record that `read` reads from.
    """

    chain: int
    number: int
    record: Record

    def read(self) -> Sweep:
        """Return the sweep of this chain (N = 1), on the CPU."""
        return self.record.sweep_of(self.chain, self.number)


def finish(running: Generator[object, None, Result]) -> Result:
    """Run a generator to its end, and return its result."""
    while True:
        try:
            next(running)
        except StopIteration as end:
            return end.value


def convert_events(
    running: Generator[Event, None, Result], convert: Callable[[Event], Iterable[Other]]
) -> Generator[Other, None, Result]:
    """Yield what `convert` makes of each event of a generator, and return the generator's result."""
    try:
        while True:
            try:
                event = next(running)
            except StopIteration as end:
                return end.value
            yield from convert(event)
    finally:
        running.close()


@torch.no_grad()
def run(
    kernel: Kernel,
    start: Tensor,
    context: Tensor,
    streams: Sequence[np.random.Generator],
    schedule: Schedule,
    held: Tensor | None = None,
) -> Generator[EndedSweep, None, Run]:
    """Run N chains; yield every sweep of every chain when it has ended, the start (sweep 0) first.

    Args:
        kernel: the kernel of all chains.
        start: (N, T) long, the first states, padded.
        context: (N,) long, the model's context of each chain.
        streams: one generator for each chain (`chain_stream`).
        schedule: the schedule of all chains.
        held: (N, T), the positions that no move redraws (see `unevaluated`); by default there are none. A sweep has as
            many updates as there are other positions, and one more for each phrase that moves.

    Returns:
        The finished run.
    """
    state, cost = kernel.init(start.clone(), context, held)
    clocks = Clocks(schedule, kernel.move, state.held, streams)
    record = Record(state, cost, kernel.energy, schedule)
    live = clocks.moving  # a chain whose positions are all held never changes
    for chain, moves in enumerate(live.tolist()):
        for number in range(1 if moves else schedule.sweeps + 1):
            yield EndedSweep(chain, number, record)
    if not live.any():
        return record.finished()
    trials = _propose(kernel, state, *copy_together(start.device, *clocks.next(np.arange(len(start)), AHEAD)))
    while live.any():
        asks, skipped = torch.stack([trials.asked.any(1).long(), trials.skipped]).cpu().numpy()
        decided = np.flatnonzero(live & (asks == 0))
        if len(decided):
            sweep, ended, goes_on = _settle(kernel, clocks, record, trials, decided, skipped[decided] + 1)
            live[decided[~goes_on]] = False
            for chain, number in zip(decided[ended].tolist(), sweep[ended].tolist(), strict=True):
                yield EndedSweep(chain, number, record)
        trials = kernel.advance(trials)
    return record.finished()


def _settle(
    kernel: Kernel, clocks: Clocks, record: Record, trials: Trial, decided: np.ndarray, updates: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Accept or reject the candidates of these chains, and let the chains that go on propose again.

    Args:
        trials: the trials of all chains; those of the chains that go on are replaced, in place.
        decided: (M,) the indices of the chains.
        updates: (M,) the number of updates that led to each of the candidates.

    Returns:
        The result of `Clocks.advance` for these chains.
    """
    sweeps, ended, goes_on = clocks.advance(decided, updates)
    planned = clocks.next(decided[goes_on], AHEAD)
    host = decided, sweeps, np.flatnonzero(ended), np.flatnonzero(goes_on), *planned
    chains, sweep, ends, onward, *update = copy_together(trials.changed.device, *host)
    reached, info = kernel.settle(select(trials, chains))
    record.add_updates(chains, sweep, info)
    if kernel.late_terms and len(ends):
        found, cost = kernel.complete(select(reached, ends))
        put(reached, ends, found)
        record.add_cost(chains[ends], sweep[ends], cost)
    record.add_states(chains, sweep, reached, ends, always_scored=kernel.metropolis)
    if len(onward):
        put(trials, chains[onward], _propose(kernel, select(reached, onward), *update))
    return sweeps, ended, goes_on


def _propose(
    kernel: Kernel, state: State, ranks: Tensor, phrase: Tensor, uniforms: Tensor, temperature: Tensor
) -> Trial:
    """Let M chains propose; the updates are those that `Clocks.next` returns."""
    free = state.free
    rank = (free.cumsum(1) - 1).clamp(min=0)
    masked = ranks.gather(2, rank[:, None].expand_as(ranks)) & free[:, None]
    return kernel.begin(state, Update(masked, phrase), uniforms, temperature)
