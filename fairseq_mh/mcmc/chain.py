"""The sampler's loop: schedule, lowest energy so far, and a record of every sweep."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.mcmc.energy import total
from fairseq_mh.mcmc.kernel import Info, Kernel
from fairseq_mh.mcmc.proposal import State
from fairseq_mh.mcmc.schedule import Schedule


class Snapshot(NamedTuple):
    """One evaluated state of each chain, on the CPU."""

    sweep: Tensor  # (N,) long
    tokens: Tensor  # (N, T) long
    scores: Tensor  # (N, T, E), as in Evaluation


class Sweep(NamedTuple):
    """The end of a sweep, and what the sweep did; sweep 0 is the start."""

    end: Snapshot
    temperature: float
    proposals: Tensor  # (N,) long, as all the counts
    accepted: Tensor  # unchanged candidates included
    novel: Tensor
    rows: Tensor  # decoder rows spent, the energies of the end included
    broken: Tensor  # proposals rejected because their ratio was NaN


class Run(NamedTuple):
    sweeps: list[Sweep]  # sweeps + 1 of them
    lowest: Snapshot  # the state of lowest energy from burn-in on, looked at after every update


def chain_stream(seed: int, sentence: int, length: int, chain: int) -> np.random.Generator:
    """A chain's own randomness: no matter which batch, shard or device the chain runs in."""
    return np.random.default_rng([seed, sentence, length, chain])


def run(kernel: Kernel, start: Tensor, streams: Sequence[np.random.Generator], schedule: Schedule) -> Run:
    """Run N chains from `start` (N, T), padded; `streams` holds one generator a chain."""
    state, spent = kernel.init(start)
    lengths = start.ne(kernel.lm.pad).sum(1).cpu()
    nothing = torch.zeros_like(lengths)
    begin = _snapshot(state, 0)
    sweeps = [Sweep(begin, schedule.temperature_at(0), nothing, nothing, nothing, spent.cpu(), nothing)]
    lowest = begin
    for sweep in range(1, schedule.sweeps + 1):
        temperature = schedule.temperature_at(sweep)
        counts = torch.zeros(5, len(start), dtype=torch.long)
        for masked, uniforms in _moves(kernel, start, lengths, streams, schedule, sweep):
            state, info = kernel.step(state, masked, temperature, uniforms)
            counts += _counts(info)
            if kernel.metropolis and sweep > schedule.burn_in:
                lowest = _lower(kernel.energy, lowest, _snapshot(state, sweep))
        if state.features is None:  # nothing was evaluated on the way
            state, spent = kernel.init(state.tokens)
            counts[3] += spent.cpu()
        end = _snapshot(state, sweep)
        lowest = end if sweep == schedule.burn_in else _lower(kernel.energy, lowest, end)
        sweeps.append(Sweep(end, temperature, *counts))
    return Run(sweeps, lowest)


def _moves(
    kernel: Kernel,
    start: Tensor,
    lengths: Tensor,
    streams: Sequence[np.random.Generator],
    schedule: Schedule,
    sweep: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """One sweep's updates: the masked positions (N, T) and the uniforms (N, S + 1) of each.

    Each chain draws for its own length only, so that padding leaves its randomness alone.
    """
    own = [
        schedule.updates(sweep, n, stream, kernel.decisions)
        for n, stream in zip(lengths.tolist(), streams, strict=True)
    ]
    updates, draws = (max(uniforms.shape[axis] for _, uniforms in own) for axis in (0, 1))
    masked = np.zeros((updates, *start.shape), dtype=bool)
    uniforms = np.zeros((updates, len(start), draws))
    for chain, (blocks, drawn) in enumerate(own):
        masked[: len(blocks), chain, : blocks.shape[1]] = blocks
        uniforms[: len(drawn), chain, : drawn.shape[1] - kernel.decisions] = drawn[:, : -kernel.decisions]
        uniforms[: len(drawn), chain, -kernel.decisions :] = drawn[:, -kernel.decisions :]
    for blocks, drawn in zip(masked, uniforms, strict=True):
        yield torch.from_numpy(blocks).to(start.device), torch.from_numpy(drawn).to(start.device)


def _counts(info: Info) -> Tensor:
    """(5, N): the counts of `Sweep`, in its order."""
    broken = info.proposed & info.log_ratio.isnan()
    return torch.stack([x.long() for x in (info.proposed, info.accepted, info.novel, info.rows, broken)]).cpu()


def _snapshot(state: State, sweep: int) -> Snapshot:
    tokens = state.tokens.cpu()
    return Snapshot(torch.full((len(tokens),), sweep), tokens, state.scores.cpu())


def _lower(name: str, best: Snapshot, other: Snapshot) -> Snapshot:
    """Chain by chain the one of lower energy; the earlier one on a tie."""
    better = total(other.scores, name) < total(best.scores, name).nan_to_num(nan=torch.inf)
    return Snapshot(
        other.sweep.where(better, best.sweep),
        other.tokens.where(better[:, None], best.tokens),
        other.scores.where(better[:, None, None], best.scores),
    )
