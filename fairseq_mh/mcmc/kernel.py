"""The Metropolis-Hastings kernel: propose -> log ratio -> accept. The only place that accepts or rejects.

    a(X -> X') = min(1, exp(-(E(X') - E(X)) / tau) q(X | X') / q(X' | X))      (section 3)

The acceptance's uniform u is drawn first. Where no position can lower an energy, what is known of E(X') bounds it from
below, so a candidate is evaluated in stages, until its ratio is below u: the decision is the same, and the rest of its
rows is never asked for. Between two stages a candidate is a `Trial`; trials that wait for their next stage may be of
any chain, at any time of its run.

An energy from one pass is evaluated whole. As a surrogate S of the target's energy it makes acceptance delayed
(Christen and Fox, 2005): a candidate must first be accepted by S in the energy's place, and is only then evaluated, and
accepted by what S left out:

    a_1 = min(1, exp(-(S(X') - S(X)) / tau) q(X | X') / q(X' | X))
    a_2 = min(1, exp(-(E(X') - E(X)) / tau + (S(X') - S(X)) / tau))

Both ratios of the way back are one over those of the way there, so the target stays what it is, whatever S is: a bad
surrogate costs acceptances, never correctness. Where the target itself is an energy from one pass, a_1 decides alone.

Degenerate Gibbs is the same proposal, always accepted: the baseline, not a sampler of exp(-E / tau).
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from fairseq_mh.mcmc.energy import (
    BOUNDED,
    ENERGIES,
    ONE_PASS,
    SURROGATE,
    certainty,
    evaluate,
    score,
    set_masked_scores,
    set_site_scores,
    site_features,
    site_scores,
    total,
)
from fairseq_mh.mcmc.informed import NOWHERE, Informed, log_choice
from fairseq_mh.mcmc.masked_lm import MaskedLM
from fairseq_mh.mcmc.one_pass import OnePassEnergy
from fairseq_mh.mcmc.proposal import MaskedConditional, Proposal, Proposed
from fairseq_mh.mcmc.stages import expected_shares, next_stage
from fairseq_mh.mcmc.state import State, repeat, select, unevaluated, where
from fairseq_mh.mcmc.trial import Info, Screened, Trial


@dataclass(frozen=True)
class Kernel:
    """One transition of any number of chains: `begin`, `advance` until nothing is asked, `settle`.

    Args:
        lm: the model.
        energy: the target's: a name of `ENERGIES`, or an energy from one pass.
        proposal: how candidates are drawn.
        metropolis: accept by the ratio; otherwise accept everything (degenerate Gibbs).
        surrogate: the energy of delayed acceptance's first stage; None: acceptance has one stage.

    Raises:
        ValueError: for an energy of another name, a surrogate of an energy that takes as few rows, or an informed
            proposal without energies to be informed by.
    """

    lm: MaskedLM
    energy: str | OnePassEnergy = "norm"
    proposal: Proposal = field(default_factory=MaskedConditional)
    metropolis: bool = True
    surrogate: OnePassEnergy | None = None

    def __post_init__(self):
        if isinstance(self.energy, str) and self.energy not in ENERGIES:
            raise ValueError(f"the energy must be one of {', '.join(ENERGIES)}, and is {self.energy}")
        if self.surrogate is not None and self.target == ONE_PASS:
            raise ValueError("a surrogate stands in for a costlier energy than one from one pass")
        if not self.metropolis and isinstance(self.proposal, Informed):
            raise ValueError(
                "informed proposals read the energies of every state, which degenerate Gibbs does not know"
            )

    @property
    def target(self) -> str:
        """The column of the scores that is the target's energy."""
        return self.energy if isinstance(self.energy, str) else ONE_PASS

    @property
    def decisions(self) -> int:
        """How many uniforms an acceptance takes."""
        return 1 if self.surrogate is None else 2

    def _first_stage(self) -> tuple[str, OnePassEnergy] | None:
        """Return the energy from one pass that is evaluated before the masked conditionals, and its column."""
        if self.surrogate is not None:
            return SURROGATE, self.surrogate
        return None if isinstance(self.energy, str) else (ONE_PASS, self.energy)

    def init(self, tokens: Tensor, context: Tensor) -> tuple[State, Tensor]:
        """Score these tokens (N, T) in these contexts (N,); return the state and the decoder rows (N,) it took."""
        state, rows = unevaluated(self.lm, tokens, context), torch.zeros_like(context)
        for column in (ONE_PASS, SURROGATE):
            set_site_scores(state.scores, column, torch.zeros_like(tokens))
        if first := self._first_stage():
            column, energy = first
            shares, rows = energy(self.lm, tokens, context)
            set_site_scores(state.scores, column, shares)
        if self.target == ONE_PASS:
            return state, rows
        state, spent = self.complete(state)
        return state, rows + spent

    def complete(self, state: State) -> tuple[State, Tensor]:
        """Return the state with all features and scores, and the decoder rows (N,) that it took."""
        valid = self._valid(state)
        missing = valid & ~state.known
        features, scores = state.features.clone(), state.scores.clone()
        if missing.any():
            features[missing] = site_features(self.lm, state.tokens, state.context, missing)
        set_masked_scores(scores, valid, score(self.lm, features[valid], state.tokens[valid]))
        known = torch.ones_like(state.known)
        return state._replace(features=features, scores=scores, known=known), missing.sum(1)

    def begin(self, state: State, masked: Tensor, uniforms: Tensor, temperature: Tensor) -> Trial:
        """Try the first of these updates that proposes another state, or the last of them.

        Args:
            masked: (M, K, T) bool, the positions of K updates one after the other, at the end perhaps of none; the
                first updates something. They propose at once, as long as that takes no row of the model.
            uniforms: (M, K, S + `decisions`) in [0, 1): S for the proposal, the last for the acceptance; with a
                surrogate the last but one for its stage.
            temperature: (M,) tau of the target.
        """
        free = (state.known | ~self._valid(state)).all(1)[:, None] & masked[:, 1:].sum(-1).eq(1)  # to propose
        updates = 1 + free.long().cumprod(1).sum(1)  # (M,)
        ahead = int(updates.max())
        masked = masked[:, :ahead] & (torch.arange(ahead, device=masked.device) < updates[:, None])[..., None]
        uniforms, source = uniforms[:, :ahead].flatten(0, 1), repeat(state, ahead)
        draws = uniforms[:, : -self.decisions]
        proposed = self.proposal(self.lm, source, masked.flatten(0, 1), draws, certainty(self.target))
        unchanged = (proposed.candidate == source.tokens).all(1) & (proposed.log_reverse == proposed.log_forward)
        skipped = unchanged.view(-1, ahead).long().cumprod(1).sum(1).minimum(updates - 1)
        spent = proposed.rows.view(-1, ahead).sum(1)  # of the first update, which alone may take any
        made = skipped + ahead * torch.arange(len(masked), device=masked.device)
        proposed = select(proposed, made)._replace(rows=spent)
        trial = self._open(state, proposed, temperature, uniforms[made, -self.decisions :].log(), unchanged[made])
        return self._ask(trial._replace(skipped=skipped))

    def advance(self, trial: Trial) -> Trial:
        """Evaluate what is asked for, and ask for the next stage."""
        asked, candidate = trial.asked, trial.candidate
        scores, features = evaluate(self.lm, candidate.tokens, candidate.context, asked)
        set_masked_scores(candidate.scores, asked, scores)  # in place: large, and the trial's own
        candidate.features[asked] = features
        return self._ask(trial._replace(open=trial.open & ~asked, rows=trial.rows + asked.sum(1)))

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
            skipped=trial.skipped,
        )
        return where(novel, candidate, state), info

    def _open(self, state: State, proposed: Proposed, temperature: Tensor, log_u: Tensor, same: Tensor) -> Trial:
        """Return the trials of these proposals with all that costs no masked row.

        Args:
            log_u: (M, `decisions`) logs of the acceptance's uniforms.
            same: (M,) bool: the candidate is the state again, and accepted.
        """
        screened = self._screen(state, proposed, temperature, log_u[:, 0])
        alone = proposed.masked & proposed.masked.sum(1, keepdim=True).eq(1)  # masked as it was in the state
        new = screened.passed[:, None] & self._valid(state)
        scores, features = (part.masked_fill(new[..., None], 0) for part in (state.scores, state.features))
        if first := self._first_stage():
            set_site_scores(scores, first[0], screened.shares)
        free = new & alone  # its features are the state's
        if free.any():
            features[free] = state.features[free]
            set_masked_scores(scores, free, score(self.lm, features[free], proposed.candidate[free]))
        return Trial(
            state=state,
            candidate=State(proposed.candidate, state.context, scores, features, new | alone),
            log_rest=(screened.log_rest - self._log_choice(state, proposed.order)).masked_fill(same, 0),
            log_u=log_u[:, -1],
            temperature=temperature,
            order=proposed.order.masked_fill(same[:, None], NOWHERE),
            expected=expected_shares(state.scores, proposed.masked),
            passed=screened.passed,
            open=new & ~free,
            asked=new,
            rows=screened.rows,
            skipped=torch.zeros_like(screened.rows),
        )

    def _screen(self, state: State, proposed: Proposed, temperature: Tensor, log_u: Tensor) -> Screened:
        """Evaluate the energy from one pass, where there is one, and say which candidates go on to the next stage."""
        log_q = proposed.log_reverse - proposed.log_forward
        changed = (proposed.candidate != state.tokens).any(1) & self.metropolis
        first, rows = self._first_stage(), proposed.rows.clone()
        if first is None:
            return Screened(changed, log_q, torch.zeros_like(state.tokens), rows)
        column, energy = first
        shares = site_scores(state.scores, column).clone()
        if changed.any():
            found, spent = energy(self.lm, proposed.candidate[changed], state.context[changed])
            shares[changed] = found.to(shares)
            rows[changed] += spent
        rise = (site_scores(state.scores, column) - shares).sum(1) / temperature
        log_ratio = log_q - rise
        if self.target == ONE_PASS:
            return Screened(torch.zeros_like(changed), log_ratio, shares, rows)
        passed = changed & (log_u < log_ratio)
        return Screened(passed, rise.where(passed | ~changed, log_ratio - torch.inf), shares, rows)

    def _ask(self, trial: Trial) -> Trial:
        """Ask for the positions that are expected to decide, of what is not decided yet."""
        if self.target not in BOUNDED:
            return trial._replace(asked=trial.open)
        log_ratio = self._log_ratio(trial)
        still_open = trial.open & (trial.log_u < log_ratio)[:, None]
        needed = (log_ratio - trial.log_u) * trial.temperature
        return trial._replace(open=still_open, asked=next_stage(still_open, trial.expected, needed))

    def _log_ratio(self, trial: Trial) -> Tensor:
        """Return the log ratio (M,) as far as it is known.

        What is not known yet counts 0, so that the ratio falls with every stage, to the true one.
        """
        rise = total(trial.candidate.scores, self.target) - total(trial.state.scores, self.target)
        return trial.log_rest - rise.where(trial.passed, 0.0) / trial.temperature

    def _log_choice(self, state: State, order: Tensor) -> Tensor:
        """Return the log-probability (N,) of choosing these positions (N, K), in this order, in this state."""
        return log_choice(state.scores, self._valid(state), order, certainty(self.target))

    def _valid(self, state: State) -> Tensor:
        return state.tokens.ne(self.lm.pad)
