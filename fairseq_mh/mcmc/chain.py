"""The sampler's loop: rounds, lowest energy so far, and a record of every sweep.

Chains do not wait for each other: a chain whose candidate is decided proposes again, until every live chain asks for
decoder rows, wherever in its sweeps it is. Then the next stage of all of them is evaluated together: that is a round.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.mcmc.clocks import Clocks
from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.mcmc.record import Record, Run, Sweep
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.mcmc.state import put, select

AHEAD = 4  # updates proposed at once from the same state: about as many as it takes until one changes it

Progress = Callable[[int], object]  # called with the number of sweeps that chains have ended since the last call
Observer = Callable[[int, Sweep], object]  # called with a chain's index and its sweep (N = 1), when it has ended


def chain_stream(seed: int, sentence: int, length: int, chain: int) -> np.random.Generator:
    """Return a chain's own randomness, the same in whichever batch, shard or device the chain runs."""
    return np.random.default_rng([seed, sentence, length, chain])


def run(
    kernel: Kernel,
    start: Tensor,
    context: Tensor,
    streams: Sequence[np.random.Generator],
    schedule: Schedule,
    progress: Progress | None = None,
    held: Tensor | None = None,
    observer: Observer | None = None,
) -> Run:
    """Run N chains.

    Args:
        start: (N, T) long, the first states, padded.
        context: (N,) long, the model's context of each chain.
        streams: one generator a chain (`chain_stream`).
        progress: is told of every sweep that a chain ends.
        held: (N, T) bool, the positions that no move draws again; none unless given. A sweep is as many updates as
            there are others.
        observer: is shown every state at the end of a sweep, the start (sweep 0) first. What `progress` or `observer`
            raise ends the run.
    """
    state, *begun = kernel.init(start.clone(), context, held)
    clocks = Clocks(schedule, kernel.proposal, state.free, streams, kernel.decisions)
    record = Record(state, (begun[0], begun[1]), kernel.energy, schedule)
    live = state.free.any(1) & (schedule.sweeps > 0)  # where all is held, every sweep ends as it began
    if observer:
        for chain, moves in enumerate(live.tolist()):
            for number in range(1 if moves else schedule.sweeps + 1):
                observer(chain, record.sweep_of(chain, number))
    if not live.any():
        return record.finished()
    if progress and not live.all():
        progress(int((~live).sum()) * schedule.sweeps)
    trials = kernel.begin(state, *clocks.next(torch.arange(len(start), device=start.device), AHEAD))
    while live.any():
        chains = (live & ~trials.asked.any(1)).nonzero()[:, 0]
        if not len(chains):
            trials = kernel.advance(trials)
            continue
        reached, info = kernel.settle(select(trials, chains))
        sweep, ended = clocks.advance(chains, info.skipped + 1)
        record.add_updates(chains, sweep, info)
        if not kernel.metropolis and ended.any():  # nothing was evaluated on the way
            ends = ended.nonzero()[:, 0]
            found, spent = kernel.complete(select(reached, ends))
            put(reached, ends, found)
            record.add_rows(chains[ends], sweep[ends], spent)
        record.add_states(chains, sweep, reached, ended, scored=ended | kernel.metropolis)
        if progress:
            progress(int(ended.sum()))
        if observer:
            for chain, number in zip(chains[ended].tolist(), sweep[ended].tolist(), strict=True):
                observer(chain, record.sweep_of(chain, number))
        goes_on = ~ended | (sweep < schedule.sweeps)
        live[chains[~goes_on]] = False
        if goes_on.any():
            idle = chains[goes_on]
            put(trials, idle, kernel.begin(select(reached, goes_on), *clocks.next(idle, AHEAD)))
    return record.finished()
