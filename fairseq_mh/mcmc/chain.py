"""The sampler's loop: rounds, lowest energy so far, and a record of every sweep.

Chains do not wait for each other: in a round every chain whose candidate is decided proposes again, wherever in its
sweeps it is, and then the next stage of all chains that ask for decoder rows is evaluated together. What the chains'
clocks say is known to the host. It waits for an accelerator a few times a round, however many chains there are.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.mcmc.clocks import Clocks, copy_together
from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.mcmc.record import Record, Run, Sweep
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.mcmc.state import State, put, select
from fairseq_mh.mcmc.trial import Trial

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
        held: (N, T) long, as of `State`: the positions that no move draws again, and the phrases that move as a whole;
            or bool, positions that keep their symbols. None unless given. A sweep is as many updates as there are
            others, and one more for each phrase.
        observer: is shown every state at the end of a sweep, the start (sweep 0) first. What `progress` or `observer`
            raise ends the run.
    """
    state, *begun = kernel.init(start.clone(), context, held)
    relocates = kernel.metropolis and kernel.relocation is not None
    clocks = Clocks(schedule, kernel.proposal, state.held, streams, kernel.decisions, relocates)
    record = Record(state, (begun[0], begun[1]), kernel.energy, schedule)
    live = clocks.moving & (schedule.sweeps > 0)  # where all is held, every sweep ends as it began
    if observer:
        for chain, moves in enumerate(live.tolist()):
            for number in range(1 if moves else schedule.sweeps + 1):
                observer(chain, record.sweep_of(chain, number))
    if not live.any():
        return record.finished()
    if progress and not live.all():
        progress(int((~live).sum()) * schedule.sweeps)
    planned = copy_together(start.device, *clocks.next(np.arange(len(start)), AHEAD))
    trials = _propose(kernel, clocks, state, *planned)
    while live.any():
        asks, skipped = torch.stack([trials.asked.any(1).long(), trials.skipped]).cpu().numpy()
        decided = np.flatnonzero(live & (asks == 0))
        if len(decided):
            sweep, ended, goes_on = _settle(kernel, clocks, record, trials, decided, skipped[decided] + 1)
            live[decided[~goes_on]] = False
            if progress:
                progress(int(ended.sum()))
            if observer:
                for chain, number in zip(decided[ended].tolist(), sweep[ended].tolist(), strict=True):
                    observer(chain, record.sweep_of(chain, number))
        trials = kernel.advance(trials)
    return record.finished()


def _settle(
    kernel: Kernel, clocks: Clocks, record: Record, trials: Trial, decided: np.ndarray, updates: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Accept or reject the candidates of these chains, and let the chains that go on propose again.

    Args:
        trials: of all chains; those of the chains that go on are replaced, in place.
        decided: (M,) which chains.
        updates: (M,) how many updates have led to each of the candidates.

    Returns:
        what `Clocks.advance` does of these chains: the sweep, whether it is at its end, whether the chain goes on.
    """
    sweeps, ended, goes_on = clocks.advance(decided, updates)
    host = decided, sweeps, np.flatnonzero(ended), np.flatnonzero(goes_on), *clocks.next(decided[goes_on], AHEAD)
    chains, sweep, ends, onward, *planned = copy_together(trials.passed.device, *host)
    reached, info = kernel.settle(select(trials, chains))
    record.add_updates(chains, sweep, info)
    if not kernel.metropolis and len(ends):  # nothing was evaluated on the way
        found, spent = kernel.complete(select(reached, ends))
        put(reached, ends, found)
        record.add_rows(chains[ends], sweep[ends], spent)
    record.add_states(chains, sweep, reached, ends, always_scored=kernel.metropolis)
    if len(onward):
        put(trials, chains[onward], _propose(kernel, clocks, select(reached, onward), *planned))
    return sweeps, ended, goes_on


def _propose(
    kernel: Kernel, clocks: Clocks, state: State, ranks: Tensor, uniforms: Tensor, temperature: Tensor, phrase: Tensor
) -> Trial:
    """Let chains (M,) propose; the updates are what `Clocks.next` returns."""
    free = state.free
    rank = (free.cumsum(1) - 1).clamp(min=0)
    masked = ranks.gather(2, rank[:, None].expand_as(ranks)) & free[:, None]
    return kernel.begin(state, masked, uniforms, temperature, phrase if clocks.phrases.any() else None)
