"""The Metropolis-Hastings kernel: propose -> log ratio -> accept. The only place that accepts or rejects.

    a(X -> X') = min(1, exp(-(E(X') - E(X)) / tau) q(X | X') / q(X' | X))      (section 3)

The acceptance's uniform u is drawn first. Where no position can lower an energy, what is known of E(X') bounds it
from below, so a candidate is evaluated position by position until its ratio is below u: the decision is the same,
and the rest of its rows is never asked for.

With a surrogate energy the acceptance is delayed: candidates that the surrogate rejects are not evaluated at all.

Degenerate Gibbs is the same proposal, always accepted: the baseline, not a sampler of exp(-E / tau).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_mh.mcmc.energy import BOUNDED, evaluate, score, total
from fairseq_mh.mcmc.masked_lm import MaskedLM
from fairseq_mh.mcmc.proposal import Proposed, State, choice
from fairseq_mh.mcmc.stages import expected_shares, next_stage
from fairseq_mh.mcmc.surrogate import Surrogate

Propose = Callable[[MaskedLM, Tensor, State, Tensor, Tensor], Proposed]


class Info(NamedTuple):
    """What one step did; diagnostics read this and nothing else."""

    candidate: Tensor  # (N, T) long
    log_ratio: Tensor  # (N,) nats, or what was known of it when the rejection was certain; NaN rejects
    proposed: Tensor  # (N,) bool: the chain had a position to update
    accepted: Tensor  # (N,) bool, unchanged candidates included
    novel: Tensor  # (N,) bool: accepted, and not the state it came from
    rows: Tensor  # (N,) long: decoder rows spent


class Screened(NamedTuple):
    """What the surrogate's stage leaves to the energy's; without a surrogate, everything."""

    passed: Tensor  # (N,) bool: the candidates to evaluate
    log_rest: Tensor  # (N,) nats: the log ratio but for the energies; of a candidate that failed, minus infinity or NaN
    energy: Tensor | None  # (N,) float64: the candidates' surrogate energies
    rows: Tensor  # (N,) long: decoder rows spent so far


@dataclass(frozen=True)
class Kernel:
    """One transition of N chains.

    Args:
        lm: the model.
        rows: (N,) long, the context of each chain.
        energy: a name of `ENERGIES`, the target's.
        propose: (lm, rows, state, masked, uniforms) -> Proposed: `masked_conditional` or `informed`.
        metropolis: accept by the ratio; otherwise accept everything (degenerate Gibbs).
        surrogate: the energy of delayed acceptance's first stage; None: there is one stage.
    """

    lm: MaskedLM
    rows: Tensor
    energy: str
    propose: Propose
    metropolis: bool = True
    surrogate: Surrogate | None = None

    @property
    def decisions(self) -> int:
        """How many uniforms an acceptance takes."""
        return 1 if self.surrogate is None else 2

    def init(self, tokens: Tensor) -> tuple[State, Tensor]:
        """The evaluated state of these tokens (N, T), and the decoder rows (N,): one a token, and the surrogate's."""
        valid = tokens.ne(self.lm.pad)
        found = evaluate(self.lm, tokens, self.rows, valid)
        scores, features = (part.new_zeros(*tokens.shape, part.size(-1)) for part in found)
        scores[valid], features[valid] = found
        if self.surrogate is None:
            return State(tokens, scores, features), valid.sum(1)
        surrogate, rows = self.surrogate(self.lm, tokens, self.rows)
        return State(tokens, scores, features, surrogate), rows + valid.sum(1)

    def step(self, state: State, masked: Tensor, temperature: float, uniforms: Tensor) -> tuple[State, Info]:
        """Update the masked positions.

        Args:
            masked: (N, T) bool; a chain with nothing masked stays as it is and is not counted.
            temperature: tau of the target.
            uniforms: (N, S + 1) in [0, 1): S for the proposal, the last for the acceptance; with a surrogate
                (N, S + 2), the last but one for its stage.
        """
        active = masked.any(1)
        proposed = self.propose(self.lm, self.rows, state, masked, uniforms[:, : -self.decisions])
        changed = (proposed.candidate != state.tokens).any(1)
        if self.metropolis:
            screened = self._screen(state, proposed, changed, temperature, uniforms[:, -self.decisions].log())
            log_u = uniforms[:, -1].log()
            candidate, log_ratio, rows = self._weigh(state, proposed, screened, temperature, log_u)
            accepted = active & (log_u < log_ratio)
        else:
            candidate = State(proposed.candidate, state.scores, None)
            log_ratio, rows = proposed.log_reverse - proposed.log_forward, proposed.rows
            accepted = active
        novel = accepted & changed
        return _where(novel, candidate, state), Info(proposed.candidate, log_ratio, active, accepted, novel, rows)

    def _screen(self, state: State, proposed: Proposed, changed: Tensor, temperature: float, log_u: Tensor) -> Screened:
        """By the surrogate, where there is one: which candidates are worth their energy."""
        log_q = proposed.log_reverse - proposed.log_forward
        if self.surrogate is None or state.surrogate is None:
            return Screened(changed, log_q, state.surrogate, proposed.rows)
        energy, rows = state.surrogate.clone(), proposed.rows.clone()
        energy[changed], spent = self.surrogate(self.lm, proposed.candidate[changed], self.rows[changed])
        rows[changed] += spent
        rise = (energy - state.surrogate) / temperature
        log_ratio = log_q - rise
        passed = changed & (log_u < log_ratio)
        return Screened(passed, rise.where(passed | ~changed, log_ratio - torch.inf), energy, rows)

    def _weigh(
        self, state: State, proposed: Proposed, screened: Screened, temperature: float, log_u: Tensor
    ) -> tuple[State, Tensor, Tensor]:
        """The candidates with their scores, their log ratios (N,), and the rows (N,) spent.

        What is not known of a candidate counts 0 until it is: its ratio falls with every stage, to the true one.
        """
        assert state.features is not None  # only degenerate Gibbs moves to states that were not evaluated
        tokens, valid = proposed.candidate, proposed.candidate.ne(self.lm.pad)
        new = screened.passed[:, None] & valid
        scores, features = (part.masked_fill(new[..., None], 0) for part in (state.scores, state.features))
        alone = new & proposed.masked & (proposed.masked.sum(1, keepdim=True) == 1)  # masked as it was in the state
        features[alone] = state.features[alone]
        scores[alone] = score(self.lm, features[alone], tokens[alone])
        log_rest, rows, open_sites = screened.log_rest, screened.rows, new & ~alone
        if proposed.order is not None:
            log_rest = log_rest - choice(state.scores, valid, proposed.order)
        expected = expected_shares(state.scores, proposed.masked)
        while True:
            log_ratio = log_rest - self._rise(scores, state, screened.passed) / temperature
            if self.energy in BOUNDED:
                open_sites = open_sites & (log_u < log_ratio)[:, None]
                asked = next_stage(open_sites, expected, (log_ratio - log_u) * temperature)
            else:
                asked = open_sites
            if not asked.any():
                break
            scores[asked], features[asked] = evaluate(self.lm, tokens, self.rows, asked)
            rows, open_sites = rows + asked.sum(1), open_sites & ~asked
        if proposed.order is not None:
            log_ratio = log_ratio + choice(scores, valid, proposed.order)
        return State(tokens, scores, features, screened.energy), log_ratio, rows

    def _rise(self, scores: Tensor, state: State, changed: Tensor) -> Tensor:
        """E(X') - E(X), (N,), as far as it is known."""
        return (total(scores, self.energy) - total(state.scores, self.energy)).where(changed, 0.0)


def _where(novel: Tensor, candidate: State, state: State) -> State:
    """Chain by chain one of two states; features are known where both have them."""
    tokens = candidate.tokens.where(novel[:, None], state.tokens)
    if candidate.features is None or state.features is None:
        return State(tokens, state.scores, None)
    parts = ((candidate.scores, state.scores), (candidate.features, state.features))
    scores, features = (new.where(novel[:, None, None], old) for new, old in parts)
    if candidate.surrogate is None or state.surrogate is None:
        return State(tokens, scores, features)
    return State(tokens, scores, features, candidate.surrogate.where(novel, state.surrogate))
