"""The sampler's loop: rounds, lowest energy so far, and a record of every sweep.

Chains do not wait for each other: what is decided is settled, and its chain proposes again, until every live chain asks
for rows, wherever in its sweeps it is. Then the next stage of all of them is evaluated together.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.mcmc.clocks import Clocks
from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.mcmc.record import Record, Run
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.mcmc.state import put, select

AHEAD = 4  # updates proposed at once from the same state: about as many as it takes until one changes it


def chain_stream(seed: int, sentence: int, length: int, chain: int) -> np.random.Generator:
    """A chain's own randomness: no matter which batch, shard or device the chain runs in."""
    return np.random.default_rng([seed, sentence, length, chain])


def run(
    kernel: Kernel, start: Tensor, context: Tensor, streams: Sequence[np.random.Generator], schedule: Schedule
) -> Run:
    """Run N chains from `start` (N, T), padded, of the model's contexts (N,); `streams` holds one generator a chain."""
    state, spent = kernel.init(start.clone(), context)
    clocks = Clocks(schedule, start.ne(kernel.lm.pad), streams, kernel.decisions)
    record = Record(state, spent, kernel.energy, schedule)
    if not schedule.sweeps:
        return record.finished()
    live = torch.ones(len(start), dtype=torch.bool, device=start.device)
    trials = kernel.begin(state, *clocks.next(live.nonzero()[:, 0], AHEAD))
    while live.any():
        chains = (live & ~trials.asked.any(1)).nonzero()[:, 0]
        if not len(chains):
            trials = kernel.advance(trials)
            continue
        reached, info = kernel.settle(select(trials, chains))
        sweep, ended = clocks.advance(chains, info.skipped + 1)
        record.updates(chains, sweep, info)
        if not kernel.metropolis and ended.any():  # nothing was evaluated on the way
            ends = ended.nonzero()[:, 0]
            found, spent = kernel.complete(select(reached, ends))
            put(reached, ends, found)
            record.rows(chains[ends], sweep[ends], spent)
        record.states(chains, sweep, reached, ended, scored=ended | kernel.metropolis)
        onwards = ~ended | (sweep < schedule.sweeps)
        live[chains[~onwards]] = False
        if onwards.any():
            idle = chains[onwards]
            put(trials, idle, kernel.begin(select(reached, onwards), *clocks.next(idle, AHEAD)))
    return record.finished()
