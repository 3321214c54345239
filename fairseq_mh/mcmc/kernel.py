"""The Metropolis-Hastings kernel: propose -> log ratio -> accept. The only place that accepts or rejects.

    a(X -> X') = min(1, exp(-(E(X') - E(X)) / tau) q(X | X') / q(X' | X))      (section 3)

The acceptance's uniform u is drawn first. Where no position can lower an energy, what is known of E(X') bounds it from
below, so a candidate is evaluated in stages, until its ratio is below u: the decision is the same, and the rest of its
rows is never asked for. Between two stages a candidate is a `Trial`; trials that wait for their next stage may be of
any chain, at any time of its run.

The target is a weighted sum of terms (`Energy`). Those from one pass are evaluated first, each of them whole. Where
some of them are a surrogate S, acceptance is delayed (Christen and Fox, 2005): a candidate must first be accepted by S
in the energy's place, and is only then evaluated, and accepted by what S left out:

    a_1 = min(1, exp(-(S(X') - S(X)) / tau) q(X | X') / q(X' | X))
    a_2 = min(1, exp(-(E(X') - E(X)) / tau + (S(X') - S(X)) / tau))

Both ratios of the way back are one over those of the way there, so the target stays what it is, whatever S is: a bad
surrogate costs acceptances, never correctness.

Degenerate Gibbs is the same proposal, always accepted: the baseline, not a sampler of exp(-E / tau).
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from fairseq_mh.mcmc.energy import BOUNDED, ENERGIES, score, set_masked_scores, site_features
from fairseq_mh.mcmc.masked_lm import MaskedLM
from fairseq_mh.mcmc.moves.informed import NOWHERE, Informed, log_choice
from fairseq_mh.mcmc.moves.masked import MaskedConditional, Proposal, Proposed
from fairseq_mh.mcmc.moves.phrases import Relocation
from fairseq_mh.mcmc.stages import expected_shares, next_stage
from fairseq_mh.mcmc.state import State, repeat, select, unevaluated, where
from fairseq_mh.mcmc.target import Energy, Term, as_energy
from fairseq_mh.mcmc.trial import Info, Screened, Trial


@dataclass(frozen=True)
class Kernel:
    """One transition of any number of chains: `begin`, `advance` until nothing is asked, `settle`.

    Args:
        lm: the model.
        energy: the target's.
        proposal: how candidates are drawn.
        metropolis: accept by the ratio; otherwise accept everything (degenerate Gibbs).
        relocation: how phrases move; where there is none they stay.

    Raises:
        ValueError: for an informed proposal without energies to be informed by.
    """

    lm: MaskedLM
    energy: Energy = field(default_factory=lambda: as_energy("norm"))
    proposal: Proposal = field(default_factory=MaskedConditional)
    metropolis: bool = True
    relocation: Relocation | None = None

    def __post_init__(self):
        if not self.metropolis and isinstance(self.proposal, Informed):
            raise ValueError(
                "informed proposals read the energies of every state, which degenerate Gibbs does not know"
            )

    @property
    def decisions(self) -> int:
        """How many uniforms an acceptance takes."""
        return 2 if self.energy.delayed else 1

    def init(self, tokens: Tensor, context: Tensor, held: Tensor | None = None) -> tuple[State, Tensor, Tensor]:
        """Score these tokens (N, T) in these contexts (N,).

        Args:
            held: (N, T) bool, the positions that no move draws again; none unless given.

        Returns:
            the state; the decoder rows (N,) long that it took, and those of autoregressive models.
        """
        state = unevaluated(self.lm, tokens, context, len(self.energy.columns), held)
        spent, everyone = _no_rows(context), torch.ones_like(context, dtype=torch.bool)
        for term in self.energy.one_pass:
            self._evaluate(term, tokens, context, everyone, state.scores, spent)
        if self.energy.masked:
            state, rows = self.complete(state)
            spent[False] += rows
        return state, spent[False], spent[True]

    def complete(self, state: State) -> tuple[State, Tensor]:
        """Return the state with all features and masked scores, and the decoder rows (N,) that it took."""
        missing = self._valid(state) & ~state.known
        features, scores = state.features.clone(), state.scores.clone()
        valid, asked = (sites.nonzero(as_tuple=True) for sites in (self._valid(state), missing))
        if len(asked[0]):
            features[asked] = site_features(self.lm, state.tokens, state.context, asked)
        set_masked_scores(scores, valid, score(self.lm, features[valid], state.tokens[valid]))
        known = torch.ones_like(state.known)
        return state._replace(features=features, scores=scores, known=known), missing.sum(1)

    def begin(
        self, state: State, masked: Tensor, uniforms: Tensor, temperature: Tensor, phrase: Tensor | None = None
    ) -> Trial:
        """Try the first of these updates that proposes another state, or the last of them.

        Args:
            masked: (M, K, T) bool, the positions of K updates one after the other, at the end perhaps of none; the
                first updates something. They propose at once, as long as that takes no row of the model.
            uniforms: (M, K, S + `decisions`) in [0, 1): S for the proposal, the last for the acceptance; with a
                surrogate the last but one for its stage.
            temperature: (M,) tau of the target.
            phrase: (M, K) long, of updates that mask nothing the phrase that they move; 0 at others. None moves unless
                given.
        """
        costless = masked[:, 1:].sum(-1).eq(1)  # to propose, where all features are known
        if phrase is not None:
            costless = costless | phrase[:, 1:].ne(0)
        costless = costless & (state.known | ~state.free).all(1)[:, None]
        updates = 1 + costless.long().cumprod(1).sum(1)  # (M,)
        ahead = int(updates.max())
        masked = masked[:, :ahead] & (torch.arange(ahead, device=masked.device) < updates[:, None])[..., None]
        uniforms, source = uniforms[:, :ahead].flatten(0, 1), repeat(state, ahead)
        draws = uniforms[:, : -self.decisions]
        proposed = self.proposal(self.lm, source, masked.flatten(0, 1), draws, self.energy.certainty)
        if self.relocation and phrase is not None:
            proposed = self.relocation(source, proposed, phrase[:, :ahead].flatten(), draws[:, 0])
        same = (proposed.candidate == source.tokens) & (proposed.held == source.held)
        unchanged = same.all(1) & (proposed.log_reverse == proposed.log_forward)
        skipped = unchanged.view(-1, ahead).long().cumprod(1).sum(1).minimum(updates - 1)
        spent = proposed.rows.view(-1, ahead).sum(1)  # of the first update, which alone may take any
        made = skipped + ahead * torch.arange(len(masked), device=masked.device)
        proposed = select(proposed, made)._replace(rows=spent)
        trial = self._open(state, proposed, temperature, uniforms[made, -self.decisions :].log(), unchanged[made])
        return self._ask(trial._replace(skipped=skipped))

    def advance(self, trial: Trial) -> Trial:
        """Evaluate what is asked for, and ask for the next stage."""
        asked, candidate = trial.asked.nonzero(as_tuple=True), trial.candidate
        if not len(asked[0]):
            return trial
        features = site_features(self.lm, candidate.tokens, candidate.context, asked)
        candidate.features[asked] = features  # in place: large, and the trial's own
        set_masked_scores(candidate.scores, asked, score(self.lm, features, candidate.tokens[asked]))
        return self._ask(trial._replace(open=trial.open & ~trial.asked, rows=trial.rows + trial.asked.sum(1)))

    def settle(self, trial: Trial) -> tuple[State, Info]:
        """Accept or reject candidates of which nothing is asked any more; return the states reached."""
        state, candidate = trial.state, trial.candidate
        log_ratio = self._log_ratio(trial) + self._log_choice(candidate, trial.order)
        accepted = trial.log_u < log_ratio if self.metropolis else torch.ones_like(trial.passed)
        novel = accepted & (candidate.tokens != state.tokens).any(1)
        info = Info(
            candidate=candidate.tokens,
            log_ratio=log_ratio,
            accepted=accepted,
            novel=novel,
            rows=trial.rows,
            expert_rows=trial.expert_rows,
            skipped=trial.skipped,
        )
        reached = where(novel, candidate, state)  # where places alone are new, all that is known of the tokens stays
        return reached._replace(held=candidate.held.where(accepted[:, None], state.held)), info

    def _open(self, state: State, proposed: Proposed, temperature: Tensor, log_u: Tensor, same: Tensor) -> Trial:
        """Return the trials of these proposals with all that costs no masked row.

        Args:
            log_u: (M, `decisions`) logs of the acceptance's uniforms.
            same: (M,) bool: the candidate is the state again, and accepted.
        """
        screened = self._screen(state, proposed, temperature, log_u)
        scores = screened.scores
        alone = proposed.masked & proposed.masked.sum(1, keepdim=True).eq(1)  # masked as it was in the state
        new = (screened.open & bool(self.energy.masked))[:, None] & self._valid(state)
        features = state.features.masked_fill(new[..., None], 0)
        free = new & alone  # its features are the state's
        if self.energy.masked and len((places := free.nonzero(as_tuple=True))[0]):
            features[places] = kept = state.features[places]
            set_masked_scores(scores, places, score(self.lm, kept, proposed.candidate[places]))
        return Trial(
            state=state,
            candidate=State(proposed.candidate, state.context, scores, features, new | alone, proposed.held),
            log_rest=screened.log_rest.masked_fill(same, 0),
            log_u=log_u[:, -1],
            temperature=temperature,
            order=proposed.order.masked_fill(same[:, None], NOWHERE),
            expected=expected_shares(state.scores, proposed.masked),
            passed=screened.passed,
            open=new & ~free,
            asked=new,
            rows=screened.rows,
            expert_rows=screened.expert_rows,
            skipped=torch.zeros_like(screened.rows),
        )

    def _screen(self, state: State, proposed: Proposed, temperature: Tensor, log_u: Tensor) -> Screened:
        """Evaluate the energies from one pass, cheap ones first, and say which candidates are not decided by them."""
        energy, spent = self.energy, _no_rows(state.context)
        passed = (proposed.candidate != state.tokens).any(1) & self.metropolis
        scores = self._forget(state, passed)
        log_rest = proposed.log_reverse - proposed.log_forward
        if energy.delayed:
            for term in energy.one_pass:
                if term.screening:
                    self._evaluate(term, proposed.candidate, state.context, passed, scores, spent)
            rise = (energy.surrogate(scores) - energy.surrogate(state.scores)) / temperature
            accepted = log_u[:, 0] < log_rest - rise
            log_rest = torch.where(accepted | ~passed, rise.where(passed, 0), log_rest - rise - torch.inf)
            passed = passed & accepted
        log_rest = log_rest - self._log_choice(state, proposed.order)
        undecided = passed
        for term, bounded in energy.stages():
            if bounded:
                rise = (energy.total(scores) - energy.total(state.scores)) / temperature
                undecided = undecided & (log_u[:, -1] < log_rest - rise)
            self._evaluate(term, proposed.candidate, state.context, undecided, scores, spent)
        return Screened(passed, undecided, log_rest, scores, spent[False] + proposed.rows, spent[True])

    def _evaluate(
        self,
        term: Term,
        tokens: Tensor,
        context: Tensor,
        which: Tensor,
        scores: Tensor,
        spent: dict[bool, Tensor],
    ) -> None:
        """Write the shares of an energy from one pass for these sequences (N,) bool into the scores, in place."""
        if len(mine := which.nonzero()[:, 0]):
            assert term.energy is not None
            shares, rows = term.energy(self.lm, tokens[mine], context[mine])
            self.energy.set_shares(scores, term, mine, shares)
            spent[term.expert][mine] += rows

    def _forget(self, state: State, changed: Tensor) -> Tensor:
        """Return the scores of candidates that differ from their states (N,) bool, nothing being evaluated: 0."""
        scores, new = state.scores.clone(), (changed[:, None] & self._valid(state))[..., None]
        known = 0 if self.energy.masked else len(ENERGIES)  # nobody asks for masked conditionals: they stay NaN
        scores[..., known:].masked_fill_(new, 0)
        return scores

    def _ask(self, trial: Trial) -> Trial:
        """Ask for the positions that are expected to decide, of what is not decided yet."""
        masked = self.energy.masked
        if masked is None or masked.name not in BOUNDED:
            return trial._replace(asked=trial.open)
        log_ratio = self._log_ratio(trial)
        still_open = trial.open & (trial.log_u < log_ratio)[:, None]
        needed = (log_ratio - trial.log_u) * trial.temperature / masked.weight
        return trial._replace(open=still_open, asked=next_stage(still_open, trial.expected, needed))

    def _log_ratio(self, trial: Trial) -> Tensor:
        """Return the log ratio (M,) as far as it is known.

        What is not known yet counts 0, so that the ratio falls with every stage, to the true one.
        """
        rise = self.energy.total(trial.candidate.scores) - self.energy.total(trial.state.scores)
        return trial.log_rest - rise.where(trial.passed, 0.0) / trial.temperature

    def _log_choice(self, state: State, order: Tensor) -> Tensor:
        """Return the log-probability (N,) of choosing these positions (N, K), in this order, in this state."""
        return log_choice(state.scores, state.free, order, self.energy.certainty)

    def _valid(self, state: State) -> Tensor:
        return state.tokens.ne(self.lm.pad)


def _no_rows(context: Tensor) -> dict[bool, Tensor]:
    """Return counts (N,) of the decoder's rows (False) and of autoregressive models' rows (True)."""
    return {expert: torch.zeros_like(context) for expert in (False, True)}
