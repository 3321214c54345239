"""The Metropolis-Hastings kernel: propose -> log ratio -> accept. The only place that accepts or rejects.

    a(X -> X') = min(1, exp(-(E(X') - E(X)) / tau) q(X | X') / q(X' | X))      (section 3)

The acceptance's uniform u is drawn first. Where no position can lower an energy, what is known of E(X') bounds it
from below, so a candidate is evaluated in stages, until its ratio is below u: the decision is the same, and the rest
of its rows is never asked for. Between two stages a candidate is a `Trial`; what waits for its next stage may be of
any chain, at any time of its run.

With a surrogate energy the acceptance is delayed: candidates that the surrogate rejects are not evaluated at all. Where
the surrogate is the target itself, that stage is the only one.

Degenerate Gibbs is the same proposal, always accepted: the baseline, not a sampler of exp(-E / tau).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fairseq_mh.mcmc.energy import BOUNDED, certainty, evaluate, evaluated, score, site_features, site_scores, total
from fairseq_mh.mcmc.masked_lm import MaskedLM
from fairseq_mh.mcmc.proposal import NOWHERE, Proposed, choice
from fairseq_mh.mcmc.stages import expected_shares, next_stage
from fairseq_mh.mcmc.state import State, repeat, select, unknown, where
from fairseq_mh.mcmc.surrogate import Surrogate
from fairseq_mh.mcmc.trial import Info, Screened, Trial

Propose = Callable[[MaskedLM, State, Tensor, Tensor], Proposed]


@dataclass(frozen=True)
class Kernel:
    """One transition of any number of chains: `begin`, `advance` until nothing is asked, `settle`.

    Args:
        lm: the model.
        energy: the target's, a name of `COLUMNS`.
        propose: (lm, state, masked, uniforms) -> Proposed: `masked_conditional` or `informed`, by `certainty(energy)`.
        metropolis: accept by the ratio; otherwise accept everything (degenerate Gibbs).
        surrogate: the energy of delayed acceptance's first stage, or the target; None: there is one stage.
    """

    lm: MaskedLM
    energy: str
    propose: Propose
    metropolis: bool = True
    surrogate: Surrogate | None = None

    @property
    def decisions(self) -> int:
        """How many uniforms an acceptance takes."""
        return 1 if self.surrogate is None or self.direct else 2

    @property
    def direct(self) -> bool:
        """Whether the surrogate is the target, and nothing is evaluated but for proposals."""
        return self.energy == "surrogate"

    def init(self, tokens: Tensor, context: Tensor) -> tuple[State, Tensor]:
        """These tokens (N, T) of these contexts (N,), scored, and the decoder rows (N,) that it took."""
        state, shares, rows = unknown(self.lm, tokens, context), torch.zeros_like(tokens), torch.zeros_like(context)
        if self.surrogate is not None:
            shares, rows = self.surrogate(self.lm, tokens, context)
        site_scores(state.scores, "surrogate").copy_(shares)
        if self.direct:
            return state, rows
        state, spent = self.complete(state)
        return state, rows + spent

    def complete(self, state: State) -> tuple[State, Tensor]:
        """With all features and scores, and the decoder rows (N,) that it took."""
        valid = self._valid(state)
        missing = valid & ~state.known
        features, scores = state.features.clone(), state.scores.clone()
        if missing.any():
            features[missing] = site_features(self.lm, state.tokens, state.context, missing)
        evaluated(scores)[valid] = score(self.lm, features[valid], state.tokens[valid])
        known = torch.ones_like(state.known)
        return state._replace(features=features, scores=scores, known=known), missing.sum(1)

    def begin(self, state: State, masked: Tensor, uniforms: Tensor, temperature: Tensor) -> Trial:
        """The first of these updates that proposes another state, or the last of them.

        Args:
            masked: (M, K, T) bool, the positions of K updates one after the other, at the end perhaps of none; the
                first updates something. They propose at once, as long as that takes no row of the model.
            uniforms: (M, K, S + 1) in [0, 1): S for the proposal, the last for the acceptance; with a surrogate
                (M, K, S + 2), the last but one for its stage.
            temperature: (M,) tau of the target.
        """
        free = (state.known | ~self._valid(state)).all(1)[:, None] & masked[:, 1:].sum(-1).eq(1)  # to propose
        updates = 1 + free.long().cumprod(1).sum(1)  # (M,)
        ahead = int(updates.max())
        masked = masked[:, :ahead] & (torch.arange(ahead, device=masked.device) < updates[:, None])[..., None]
        uniforms, source = uniforms[:, :ahead].flatten(0, 1), repeat(state, ahead)
        proposed = self.propose(self.lm, source, masked.flatten(0, 1), uniforms[:, : -self.decisions])
        unchanged = (proposed.candidate == source.tokens).all(1) & (proposed.log_reverse == proposed.log_forward)
        skipped = unchanged.view(-1, ahead).long().cumprod(1).sum(1).minimum(updates - 1)
        spent = proposed.rows.view(-1, ahead).sum(1)  # of the first update, which alone may take any
        made = skipped + ahead * torch.arange(len(masked), device=masked.device)
        proposed = select(proposed, made)._replace(rows=spent)
        trial = self._open(state, proposed, temperature, uniforms[made], unchanged[made])
        return self._ask(trial._replace(skipped=skipped))

    def advance(self, trial: Trial) -> Trial:
        """Evaluate what is asked for, and ask for the next stage."""
        asked, candidate = trial.asked, trial.candidate
        found = evaluate(self.lm, candidate.tokens, candidate.context, asked)
        evaluated(candidate.scores)[asked], candidate.features[asked] = found  # in place: large, and the trial's own
        return self._ask(trial._replace(open=trial.open & ~asked, rows=trial.rows + asked.sum(1)))

    def settle(self, trial: Trial) -> tuple[State, Info]:
        """Accept or reject candidates of which nothing is asked any more."""
        state, candidate = trial.state, trial.candidate
        log_ratio = self._log_ratio(trial) + self._choice(candidate, trial.order)
        accepted = trial.log_u < log_ratio if self.metropolis else torch.ones_like(trial.passed)
        novel = accepted & (candidate.tokens != state.tokens).any(1)
        info = Info(candidate.tokens, log_ratio, accepted, novel, trial.rows, trial.skipped)
        return where(novel, candidate, state), info

    def _open(self, state: State, proposed: Proposed, temperature: Tensor, uniforms: Tensor, same: Tensor) -> Trial:
        """The trials of these proposals, of which what costs nothing is known; the same state again is accepted."""
        log_u = uniforms[:, -self.decisions :].log()
        screened = self._screen(state, proposed, temperature, log_u[:, 0])
        alone = proposed.masked & proposed.masked.sum(1, keepdim=True).eq(1)  # masked as it was in the state
        new = screened.passed[:, None] & self._valid(state)
        scores, features = (part.masked_fill(new[..., None], 0) for part in (state.scores, state.features))
        site_scores(scores, "surrogate").copy_(screened.shares)
        at_hand = new & alone
        if at_hand.any():
            features[at_hand] = state.features[at_hand]
            evaluated(scores)[at_hand] = score(self.lm, features[at_hand], proposed.candidate[at_hand])
        candidate = State(proposed.candidate, state.context, scores, features, new | alone)
        return Trial(
            state,
            candidate,
            (screened.log_rest - self._choice(state, proposed.order)).masked_fill(same, 0),
            log_u[:, -1],
            temperature,
            proposed.order.masked_fill(same[:, None], NOWHERE),
            expected_shares(state.scores, proposed.masked),
            screened.passed,
            new & ~at_hand,
            new,
            screened.rows,
            torch.zeros_like(screened.rows),
        )

    def _screen(self, state: State, proposed: Proposed, temperature: Tensor, log_u: Tensor) -> Screened:
        """By the surrogate, where there is one: which candidates are worth their energy."""
        log_q = proposed.log_reverse - proposed.log_forward
        changed = (proposed.candidate != state.tokens).any(1) & self.metropolis
        shares, rows = site_scores(state.scores, "surrogate").clone(), proposed.rows.clone()
        if self.surrogate is None:
            return Screened(changed, log_q, shares, rows)
        if changed.any():
            found, spent = self.surrogate(self.lm, proposed.candidate[changed], state.context[changed])
            shares[changed] = found.to(shares)
            rows[changed] += spent
        rise = (site_scores(state.scores, "surrogate") - shares).sum(1) / temperature
        log_ratio = log_q - rise
        if self.direct:
            return Screened(torch.zeros_like(changed), log_ratio, shares, rows)
        passed = changed & (log_u < log_ratio)
        return Screened(passed, rise.where(passed | ~changed, log_ratio - torch.inf), shares, rows)

    def _ask(self, trial: Trial) -> Trial:
        """For the positions that are expected to decide, of what is not decided yet."""
        if self.energy not in BOUNDED:
            return trial._replace(asked=trial.open)
        log_ratio = self._log_ratio(trial)
        still_open = trial.open & (trial.log_u < log_ratio)[:, None]
        needed = (log_ratio - trial.log_u) * trial.temperature
        return trial._replace(open=still_open, asked=next_stage(still_open, trial.expected, needed))

    def _log_ratio(self, trial: Trial) -> Tensor:
        """As far as it is known: what is not counts 0, so that the ratio falls with every stage, to the true one."""
        rise = total(trial.candidate.scores, self.energy) - total(trial.state.scores, self.energy)
        return trial.log_rest - rise.where(trial.passed, 0.0) / trial.temperature

    def _choice(self, state: State, order: Tensor) -> Tensor:
        """log-probability (N,) of choosing these positions (N, K), in this order, in this state."""
        return choice(state.scores, self._valid(state), order, certainty(self.energy))

    def _valid(self, state: State) -> Tensor:
        return state.tokens.ne(self.lm.pad)
