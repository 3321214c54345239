"""The Metropolis-Hastings kernel: propose -> log ratio -> accept. The only place that accepts or rejects.

    a(X -> X') = min(1, exp(-(E(X') - E(X)) / tau) q(X | X') / q(X' | X))      (section 3)

The acceptance's uniform u is drawn first. If no share of a position can be negative, the evaluated part of E(X') bounds
it from below. A candidate is therefore evaluated in stages, terms from one pass first, until its ratio is below u: the
decision is the same, and the rest of its rows is saved. Between two stages a candidate is a `Trial`; trials that wait
for their next stage may be of any chain, at any time of its run.

Degenerate Gibbs accepts every proposal: it is the baseline, and does not sample exp(-E / tau).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_mh.mcmc.energy import Energy, Term, complete, evaluate, site_features
from fairseq_mh.mcmc.masked_lm import MaskedLM
from fairseq_mh.mcmc.move import NOWHERE, Move, Proposed, Update
from fairseq_mh.mcmc.stages import expected_shares, next_stage
from fairseq_mh.mcmc.state import Cost, State, no_cost, repeat, select, where


class Trial(NamedTuple):
    """Candidates of M chains, between the proposal and the decision.

    Attributes:
        state: the states that the candidates come from.
        candidate: the candidates; scores and features that are not known yet are 0, and scores of late terms NaN.
            Energies from one pass read no features, and their candidates share the tensor of their states.
        log_rest: (M,) nats, the log ratio without the two energies and without the candidate's choice of positions.
        log_u: (M,) the log of the acceptance's uniform.
        temperature: (M,) tau of the target.
        order: (M, K) long, the positions that were chosen by the scores of the state, as in `Proposed`.
        expected: (M, T) nats, a guess of the shares of the candidate's masked conditionals.
        changed: (M,) bool, whether the candidate differs from the state and its energy decides.
        open: (M, T) bool, the positions of an undecided candidate that have not been evaluated.
        asked: (M, T) bool, the open positions to evaluate next; a candidate without any can be decided.
        cost: the rows spent.
        skipped: (M,) long, the number of updates before this one that proposed the state itself.
    """

    state: State
    candidate: State
    log_rest: Tensor
    log_u: Tensor
    temperature: Tensor
    order: Tensor
    expected: Tensor
    changed: Tensor
    open: Tensor
    asked: Tensor
    cost: Cost
    skipped: Tensor


class Info(NamedTuple):
    """The result of M updates; diagnostics read this and nothing else.

    Attributes:
        candidate: (M, T) long.
        log_ratio: (M,) nats, or as much of it as was known when the rejection was certain; NaN rejects.
        accepted: (M,) bool, true for unchanged candidates, too.
        novel: (M,) bool, accepted and different from the state.
        cost: the rows spent.
        skipped: (M,) long, the number of accepted updates before this one whose candidates were unchanged.
    """

    candidate: Tensor
    log_ratio: Tensor
    accepted: Tensor
    novel: Tensor
    cost: Cost
    skipped: Tensor


@dataclass(frozen=True)
class Kernel:
    """One transition of any number of chains: `begin`, `advance` until nothing is asked, `settle`.

    Args:
        lm: the model.
        energy: the energy of the target.
        move: the move that draws candidates.
        metropolis: whether to accept by the ratio; otherwise everything is accepted (degenerate Gibbs).

    Raises:
        ValueError: for degenerate Gibbs with a move that reads the scores of states.
    """

    lm: MaskedLM
    energy: Energy
    move: Move
    metropolis: bool = True

    def __post_init__(self):
        if not self.metropolis and self.move.reads_scores:
            raise ValueError("informed proposals read the energies of every state, which degenerate Gibbs lacks")

    @property
    def late_terms(self) -> list[Term]:
        """The terms that are evaluated at the end of a sweep only, because no decision needs them."""
        return self.energy.reported if self.metropolis else list(self.energy.terms)

    def init(self, tokens: Tensor, context: Tensor, held: Tensor | None = None) -> tuple[State, Cost]:
        """Evaluate first states; the arguments are those of `evaluate`."""
        return evaluate(self.lm, self.energy, tokens, context, held)

    def complete(self, state: State) -> tuple[State, Cost]:
        """Evaluate the terms of states that no decision needs."""
        return complete(self.lm, self.energy, state, self.late_terms)

    def begin(self, state: State, update: Update, uniforms: Tensor, temperature: Tensor) -> Trial:
        """Try the first of these updates that proposes another state, or the last of them.

        The first update may take decoder rows. The next ones are proposed at the same time and from the same state, up
        to the first one that would take a row.

        Args:
            state: the states of M chains.
            update: K successive updates, of shapes (M, K, T) and (M, K); the last ones may be empty.
            uniforms: (M, K, S + 1) in [0, 1): S for the proposal, the last one for the acceptance.
            temperature: (M,) tau of the target.
        """
        later = Update(*(part[:, 1:] for part in update))
        costless = self.move.reuses_features(later) & (state.known | ~state.free).all(1)[:, None]
        updates = 1 + costless.long().cumprod(1).sum(1)  # (M,)
        ahead = int(updates.max())
        there = torch.arange(ahead, device=updates.device) < updates[:, None]
        masked = (update.masked[:, :ahead] & there[..., None]).flatten(0, 1)
        uniforms, source = uniforms[:, :ahead].flatten(0, 1), repeat(state, ahead)
        taken = Update(masked, update.phrase[:, :ahead].flatten())
        proposed = self.move.propose(self.lm, source, taken, uniforms[:, :-1])
        same = (proposed.candidate == source.tokens) & (proposed.held == source.held)
        unchanged = same.all(1) & (proposed.log_reverse == proposed.log_forward)
        skipped = unchanged.view(-1, ahead).long().cumprod(1).sum(1).minimum(updates - 1)
        spent = proposed.rows.view(-1, ahead).sum(1)  # only the first update may take any
        made = skipped + ahead * torch.arange(len(skipped), device=skipped.device)
        proposed = select(proposed, made)._replace(rows=spent)
        log_u = uniforms[made, -1].log()
        return self._ask(self._open(state, proposed, temperature, log_u, unchanged[made], skipped))

    def advance(self, trial: Trial) -> Trial:
        """Evaluate the positions that are asked for, and ask for the next stage."""
        asked, candidate = trial.asked.nonzero(as_tuple=True), trial.candidate
        if not len(asked[0]):
            return trial
        features = site_features(self.lm, candidate.tokens, candidate.context, asked)
        candidate.features[asked] = features  # in place: large, and the trial's own
        self.energy.set_masked(candidate.scores, asked, self.lm, features, candidate.tokens[asked])
        cost = trial.cost.plus(trial.asked.sum(1))
        return self._ask(trial._replace(open=trial.open & ~trial.asked, cost=cost))

    def settle(self, trial: Trial) -> tuple[State, Info]:
        """Accept or reject candidates that ask for no more positions; return the states reached and the results."""
        state, candidate = trial.state, trial.candidate
        log_ratio = self._log_ratio(trial) + self.move.log_choice(candidate, trial.order)
        accepted = trial.log_u < log_ratio if self.metropolis else torch.ones_like(trial.changed)
        novel = accepted & (candidate.tokens != state.tokens).any(1)
        info = Info(candidate.tokens, log_ratio, accepted, novel, trial.cost, trial.skipped)
        reached = where(novel, candidate, state)  # if only phrases change places, the evaluation stays
        return reached._replace(held=candidate.held.where(accepted[:, None], state.held)), info

    def _open(
        self,
        state: State,
        proposed: Proposed,
        temperature: Tensor,
        log_u: Tensor,
        unchanged: Tensor,
        skipped: Tensor,
    ) -> Trial:
        """Return the trials of these proposals, after the evaluations that take no row with a masked position.

        Args:
            log_u: (M,) the logs of the acceptance's uniforms.
            unchanged: (M,) bool, whether the candidate is the state itself, which is always accepted.
            skipped: (M,) long, the number of such updates before the proposal.
        """
        energy, valid = self.energy, self._valid(state)
        differs = (proposed.candidate != state.tokens).any(1)
        changed = differs & self.metropolis
        log_rest = proposed.log_reverse - proposed.log_forward - self.move.log_choice(state, proposed.order)
        scores = self._unknown_scores(state, differs)
        cost, undecided = self._evaluate_one_pass(state, proposed, scores, changed, log_rest, log_u, temperature)
        single = proposed.masked & proposed.masked.sum(1, keepdim=True).eq(1)  # the other tokens are those of the state
        new = (undecided & energy.samples_masked)[:, None] & valid
        free = new & single  # so its features are those of the state
        features = state.features
        if energy.samples_masked:
            features = features.masked_fill((new & ~free)[..., None], 0)
            places = free.nonzero(as_tuple=True)
            if len(places[0]):
                energy.set_masked(scores, places, self.lm, features[places], proposed.candidate[places])
        bounded = energy.masked_bound > 0
        return Trial(
            state=state,
            candidate=State(proposed.candidate, state.context, scores, features, new | single, proposed.held),
            log_rest=log_rest.masked_fill(unchanged, 0),
            log_u=log_u,
            temperature=temperature,
            order=proposed.order.masked_fill(unchanged[:, None], NOWHERE),
            expected=expected_shares(state.scores[..., energy.certainty], proposed.masked, bounded),
            changed=changed,
            open=new & ~free,
            asked=new,
            cost=cost,
            skipped=skipped,
        )

    def _evaluate_one_pass(
        self,
        state: State,
        proposed: Proposed,
        scores: Tensor,
        changed: Tensor,
        log_rest: Tensor,
        log_u: Tensor,
        temperature: Tensor,
    ) -> tuple[Cost, Tensor]:
        """Evaluate the terms from one pass, cheap ones first, until the rejection of a candidate is certain.

        Args:
            scores: (M, T, E), of the candidates; the terms that are evaluated are written in place.

        Returns:
            The cost; and whether each candidate is undecided (M,) bool.
        """
        energy, cost, undecided = self.energy, no_cost(state.context).plus(proposed.rows), changed
        for term, bounded in energy.stages():
            if bounded:
                rise = (energy.total(scores) - energy.total(state.scores)) / temperature
                undecided = undecided & (log_u < log_rest - rise)
            if len(mine := undecided.nonzero()[:, 0]):
                rows = energy.evaluate_one_pass(term, self.lm, proposed.candidate, state.context, mine, scores)
                cost = cost.plus(rows, term.expert)
        return cost, undecided

    def _unknown_scores(self, state: State, differs: Tensor) -> Tensor:
        """Return scores of candidates before anything is evaluated: 0, and NaN for late terms.

        Args:
            differs: (M,) bool, which candidates differ from their states; the others keep their scores.
        """
        scores, new, late = state.scores.clone(), differs[:, None] & self._valid(state), self.late_terms
        for column, term in enumerate(self.energy.terms):
            scores[..., column].masked_fill_(new, torch.nan if term in late else 0)
        return scores

    def _ask(self, trial: Trial) -> Trial:
        """Ask for the positions that are expected to decide the candidates that are not decided yet."""
        weight = self.energy.masked_bound
        if not weight:
            return trial._replace(asked=trial.open)
        log_ratio = self._log_ratio(trial)
        still_open = trial.open & (trial.log_u < log_ratio)[:, None]
        needed = (log_ratio - trial.log_u) * trial.temperature / weight
        return trial._replace(open=still_open, asked=next_stage(still_open, trial.expected, needed))

    def _log_ratio(self, trial: Trial) -> Tensor:
        """Return the log ratio (M,) as far as it is known.

        Shares that are not known yet count as 0, so the ratio falls with every stage until it is exact.
        """
        rise = self.energy.total(trial.candidate.scores) - self.energy.total(trial.state.scores)
        return trial.log_rest - rise.where(trial.changed, 0.0) / trial.temperature

    def _valid(self, state: State) -> Tensor:
        return state.tokens.ne(self.lm.pad)
