"""What is kept of a run: the end of every sweep of every chain, what the sweeps did, and the lowest energy."""

from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.mcmc.state import State
from fairseq_mh.mcmc.target import Energy
from fairseq_mh.mcmc.trial import Info


class Snapshot(NamedTuple):
    """One evaluated state of each chain, on the CPU."""

    sweep: Tensor  # (N,) long
    tokens: Tensor  # (N, T) long
    scores: Tensor  # (N, T, E), as in State


class Sweep(NamedTuple):
    """The end of a sweep, and what the sweep did; sweep 0 is the start."""

    end: Snapshot
    temperature: float
    proposals: Tensor  # (N,) long, as all the counts
    accepted: Tensor  # unchanged candidates included
    novel: Tensor
    rows: Tensor  # decoder rows spent, the energies of the end included
    expert_rows: Tensor  # rows of autoregressive models
    broken: Tensor  # proposals rejected because their ratio was NaN


COUNTS = Sweep._fields[2:]


class Run(NamedTuple):
    """A finished run of N chains, on the CPU."""

    sweeps: list[Sweep]  # sweeps + 1 of them
    lowest: Snapshot  # the state of lowest energy from burn-in on, looked at after every update


class Record:
    """The record of a run, while it goes on.

    Args:
        state: that the run begins at.
        spent: (N,) long, the decoder rows that its evaluation took, and those of autoregressive models.
        energy: the target's.
    """

    def __init__(self, state: State, spent: tuple[Tensor, Tensor], energy: Energy, schedule: Schedule):
        self._energy, self._schedule = energy, schedule
        self._tokens, self._scores = (
            part.repeat(schedule.sweeps + 1, *[1] * part.dim()) for part in (state.tokens, state.scores)
        )
        self._counts = spent[0].new_zeros(schedule.sweeps + 1, len(COUNTS), len(state.tokens))
        for name, rows in zip(("rows", "expert_rows"), spent, strict=True):
            self._counts[0, COUNTS.index(name)] = rows
        self._lowest = Snapshot(torch.zeros_like(state.context), state.tokens.clone(), state.scores.clone())

    def add_updates(self, chains: Tensor, sweep: Tensor, info: Info) -> None:
        """Count what updates of these chains (M,) did, each in its sweep (M,)."""
        done, broken = info.skipped + 1, info.log_ratio.isnan()
        counts = (done, info.accepted + info.skipped, info.novel, info.rows, info.expert_rows, broken)
        self._counts[sweep, :, chains] += torch.stack([count.long() for count in counts], 1)

    def add_rows(self, chains: Tensor, sweep: Tensor, spent: Tensor) -> None:
        """Count decoder rows (M,) that no update took."""
        self._counts[sweep, COUNTS.index("rows"), chains] += spent

    def add_states(self, chains: Tensor, sweep: Tensor, state: State, ends: Tensor, always_scored: bool) -> None:
        """Keep where these chains are after an update, if it ends a sweep or has the lowest energy so far.

        Args:
            chains, sweep: (M,) long.
            ends: (E,) long, at which of the M the update was the last one of its sweep.
            always_scored: whether a state's scores are those of its tokens within a sweep, too.
        """
        end = sweep[ends], chains[ends]
        self._tokens[end], self._scores[end] = state.tokens[ends], state.scores[ends]
        ended = torch.zeros_like(chains, dtype=torch.bool).index_fill(0, ends, True)
        best = self._energy.total(self._lowest.scores[chains]).nan_to_num(nan=torch.inf)
        lower = self._energy.total(state.scores) < best  # the earlier one on a tie
        since = sweep - self._schedule.burn_in
        taken = (ended & (since == 0)) | ((ended | always_scored) & (since > 0) & lower)
        for kept, new in zip(self._lowest, (sweep, state.tokens, state.scores), strict=True):
            kept[chains] = new.where(taken.view(-1, *[1] * (new.dim() - 1)), kept[chains])

    def sweep_of(self, chain: int, sweep: int) -> Sweep:
        """Return a sweep that this chain has ended, of this chain alone (N = 1), on the CPU."""
        mine = slice(chain, chain + 1)
        parts = self._tokens[sweep, mine], self._scores[sweep, mine], self._counts[sweep, :, mine]
        return self._sweep(sweep, *(part.cpu().clone() for part in parts))

    def finished(self) -> Run:
        """Return the run, on the CPU."""
        tokens, scores, counts = (part.cpu() for part in (self._tokens, self._scores, self._counts))
        sweeps = [self._sweep(sweep, *parts) for sweep, parts in enumerate(zip(tokens, scores, counts, strict=True))]
        return Run(sweeps, Snapshot(*(part.cpu() for part in self._lowest)))

    def _sweep(self, sweep: int, tokens: Tensor, scores: Tensor, counts: Tensor) -> Sweep:
        end = Snapshot(torch.full((len(tokens),), sweep), tokens, scores)
        return Sweep(end, self._schedule.temperature_at(sweep), *counts)
