"""The Metropolis-Hastings kernel: propose -> log ratio -> accept. The only place that accepts or rejects.

    a(X -> X') = min(1, exp(-(E(X') - E(X)) / tau) q(X | X') / q(X' | X))      (section 3)

Degenerate Gibbs is the same proposal, always accepted: the baseline, not a sampler of exp(-E / tau).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from fairseq_mh.mcmc.energy import Evaluation, evaluate, total
from fairseq_mh.mcmc.masked_lm import MaskedLM
from fairseq_mh.mcmc.proposal import Proposed, State, choice

Propose = Callable[[MaskedLM, Tensor, State, Tensor, Tensor], Proposed]


class Info(NamedTuple):
    """What one step did; diagnostics read this and nothing else."""

    candidate: Tensor  # (N, T) long
    log_ratio: Tensor  # (N,) nats; 0 for an unchanged candidate; NaN rejects
    proposed: Tensor  # (N,) bool: the chain had a position to update
    accepted: Tensor  # (N,) bool, unchanged candidates included
    novel: Tensor  # (N,) bool: accepted, and not the state it came from
    rows: Tensor  # (N,) long: decoder rows spent


@dataclass(frozen=True)
class Kernel:
    """One transition of N chains.

    Args:
        lm: the model.
        rows: (N,) long, the context of each chain.
        energy: a name of `ENERGIES`, the target's.
        propose: (lm, rows, state, masked, uniforms) -> Proposed: `masked_conditional` or `informed`.
        metropolis: accept by the ratio; otherwise accept everything (degenerate Gibbs).
    """

    lm: MaskedLM
    rows: Tensor
    energy: str
    propose: Propose
    metropolis: bool = True

    def init(self, tokens: Tensor) -> State:
        """The evaluated state of these tokens (N, T): a decoder row a token."""
        return State(tokens, *evaluate(self.lm, tokens, self.rows))

    def step(self, state: State, masked: Tensor, temperature: float, uniforms: Tensor) -> tuple[State, Info]:
        """Update the masked positions.

        Args:
            masked: (N, T) bool; a chain with nothing masked stays as it is and is not counted.
            temperature: tau of the target.
            uniforms: (N, S + 1) in [0, 1): S for the proposal, the last for the acceptance.
        """
        active = masked.any(1)
        proposed = self.propose(self.lm, self.rows, state, masked, uniforms[:, :-1])
        changed = (proposed.candidate != state.tokens).any(1)
        log_ratio = proposed.log_reverse - proposed.log_forward
        rows = proposed.rows
        if self.metropolis:
            moved = self._evaluate(proposed.candidate, changed, state)
            difference = total(moved.scores, self.energy) - total(state.scores[changed], self.energy)
            log_ratio[changed] -= difference / temperature
            if proposed.site is not None:
                log_ratio[changed] += self._choice_ratio(proposed, moved, state, changed)
            accepted = active & (uniforms[:, -1].log() < log_ratio)
            rows = rows + changed * proposed.candidate.ne(self.lm.pad).sum(1)
        else:
            moved = None
            accepted = active
        novel = accepted & changed
        after = _move(state, proposed.candidate, moved, novel, changed)
        return after, Info(proposed.candidate, log_ratio, active, accepted, novel, rows)

    def _choice_ratio(self, proposed: Proposed, moved: Evaluation, state: State, changed: Tensor) -> Tensor:
        """log of the probability of choosing the same site in the candidate, over that in the state."""
        assert proposed.site is not None
        valid, site = proposed.candidate[changed].ne(self.lm.pad), proposed.site[changed, None]
        back, there = choice(moved.scores, valid), choice(state.scores[changed], valid)
        return (back - there).gather(1, site)[:, 0]

    def _evaluate(self, candidate: Tensor, changed: Tensor, state: State) -> Evaluation:
        """The candidates that differ from their states, and only those."""
        if not changed.any():
            assert state.features is not None  # only degenerate Gibbs moves to states that were not evaluated
            return Evaluation(state.scores[changed], state.features[changed])
        return evaluate(self.lm, candidate[changed], self.rows[changed])


def _move(state: State, candidate: Tensor, moved: Evaluation | None, novel: Tensor, changed: Tensor) -> State:
    """The next state; its energy is not known (features None) where nothing was evaluated."""
    tokens = candidate.where(novel[:, None], state.tokens)
    if moved is None or state.features is None:
        return State(tokens, state.scores, None)
    kept = novel[changed]
    scores, features = state.scores.clone(), state.features.clone()
    scores[novel], features[novel] = moved.scores[kept], moved.features[kept]
    return State(tokens, scores, features)
