"""The record of a run: the end of every sweep of every chain, counts of each sweep, and the lowest energy."""

from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_mh.mcmc.energy import Energy
from fairseq_mh.mcmc.kernel import Info
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.mcmc.state import Cost, State

COUNTS = ("proposals", "accepted", "novel", "broken", "rows", "expert_rows")


class Snapshot(NamedTuple):
    """One evaluated state of each of N chains, on the CPU.

    Attributes:
        sweep: (N,) long, the sweep in which the chain was in this state.
        tokens: (N, T) long, padded.
        scores: (N, T, E) nats, as in `State`.
    """

    sweep: Tensor
    tokens: Tensor
    scores: Tensor


class Sweep(NamedTuple):
    """One sweep of N chains; sweep 0 is the start.

    Attributes:
        end: the states at its end.
        temperature: tau of the target.
        proposals: (N,) long, the number of proposals.
        accepted: (N,) long, accepted proposals, which include unchanged candidates.
        novel: (N,) long, accepted proposals that changed the state.
        broken: (N,) long, proposals rejected because their ratio was NaN.
        cost: the rows spent, which include the evaluation of the state at the end.
    """

    end: Snapshot
    temperature: float
    proposals: Tensor
    accepted: Tensor
    novel: Tensor
    broken: Tensor
    cost: Cost


class Run(NamedTuple):
    """A finished run of N chains and S sweeps, on the CPU.

    Attributes:
        sweeps: one more than the schedule has, because sweep 0 is the start.
        lowest: the states of lowest energy from burn-in on, compared after every update (for degenerate Gibbs, after
            every sweep).
        energy: the energy of the target.
    """

    sweeps: list[Sweep]
    lowest: Snapshot
    energy: Energy

    @property
    def tokens(self) -> Tensor:
        """The states at the ends of the sweeps, burn-in included and the start left out: (N, S, T) long, padded."""
        return torch.stack([sweep.end.tokens for sweep in self.sweeps], 1)[:, 1:]

    @property
    def energies(self) -> Tensor:
        """The energies of `tokens`: (N, S) nats; divided by minus the temperature, log p up to a constant."""
        return torch.stack([self.energy.total(sweep.end.scores) for sweep in self.sweeps], 1)[:, 1:]


class Record:
    """The record of a run while it goes on.

    Args:
        state: the first states of N chains.
        cost: the cost of their evaluation.
        energy: the energy of the target.
        schedule: the schedule of the run.
    """

    def __init__(self, state: State, cost: Cost, energy: Energy, schedule: Schedule):
        self._energy, self._schedule = energy, schedule
        self._tokens, self._scores = (
            part.repeat(schedule.sweeps + 1, *[1] * part.dim()) for part in (state.tokens, state.scores)
        )
        self._counts = cost.rows.new_zeros(schedule.sweeps + 1, len(COUNTS), len(state.tokens))
        self._counts[0, -len(cost) :] = torch.stack(cost)
        self._lowest = Snapshot(torch.zeros_like(state.context), state.tokens.clone(), state.scores.clone())

    def add_updates(self, chains: Tensor, sweep: Tensor, info: Info) -> None:
        """Count the results of updates of these chains (M,), each in its sweep (M,)."""
        done, broken = info.skipped + 1, info.log_ratio.isnan()
        counts = (done, info.accepted + info.skipped, info.novel, broken, *info.cost)
        self._counts[sweep, :, chains] += torch.stack([count.long() for count in counts], 1)

    def add_cost(self, chains: Tensor, sweep: Tensor, cost: Cost) -> None:
        """Count rows of these chains (M,), each in its sweep (M,), that were not spent by an update."""
        self._counts[sweep, -len(cost) :, chains] += torch.stack(cost, 1)

    def add_states(self, chains: Tensor, sweep: Tensor, state: State, ends: Tensor, always_scored: bool) -> None:
        """Keep the states of these chains after an update, if it ends a sweep or has the lowest energy so far.

        Args:
            chains, sweep: (M,) long.
            state: the states of the M chains.
            ends: (E,) long, the indices among the M of the chains whose update was the last one of its sweep.
            always_scored: whether states are evaluated after every update, not only at the end of a sweep.
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
        """Return an ended sweep of one chain (N = 1), on the CPU."""
        mine = slice(chain, chain + 1)
        parts = self._tokens[sweep, mine], self._scores[sweep, mine], self._counts[sweep, :, mine]
        return self._sweep(sweep, *(part.cpu().clone() for part in parts))

    def finished(self) -> Run:
        """Return the run, on the CPU."""
        tokens, scores, counts = (part.cpu() for part in (self._tokens, self._scores, self._counts))
        sweeps = [self._sweep(sweep, *parts) for sweep, parts in enumerate(zip(tokens, scores, counts, strict=True))]
        return Run(sweeps, Snapshot(*(part.cpu() for part in self._lowest)), self._energy)

    def _sweep(self, sweep: int, tokens: Tensor, scores: Tensor, counts: Tensor) -> Sweep:
        end, named = Snapshot(torch.full((len(tokens),), sweep), tokens, scores), dict(zip(COUNTS, counts, strict=True))
        cost = Cost(named.pop("rows"), named.pop("expert_rows"))
        return Sweep(end, self._schedule.temperature_at(sweep), **named, cost=cost)
