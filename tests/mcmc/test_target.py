"""Long chains end in the target distribution, and the chains of wrong kernels do not."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch

from fairseq_mh.mcmc.conditional import conditional
from fairseq_mh.mcmc.energy import Energy
from fairseq_mh.mcmc.masked_lm import state_logits
from fairseq_mh.mcmc.moves.informed import NOWHERE, Informed
from fairseq_mh.mcmc.moves.masked import MaskedConditional, draw_masked
from fairseq_mh.mcmc.schedule import Schedule
from tests.mcmc.harness import FALSE_ALARM, LM, SCHEDULES, Moves, Q, kernel_of, number_of, p_value, run_from, target_of
from tests.mcmc.tables import SUMS, Reference, TableEnergy

pytestmark = pytest.mark.usefixtures("large_queries")

COPIES, SWEEPS, TEMPERATURE = 5000, 24, 1.0
ENERGY = TableEnergy(LM, seed=6)


def name_of(energy) -> str:
    """Return the name of an energy in `ENERGIES` or `SUMS`, or `one-pass`."""
    terms = {term.name: term.weight for term in energy.terms if term.weight}
    return next((name for name, sum_of in SUMS.items() if sum_of == terms), next(iter(terms)))


def long_run_p_value(kernel, lm=LM, **blocks) -> float:
    """Run independent chains from the least likely state, and test their last states against the target.

    The effect of the start adds at most 2.5 to the mean of the chi-square, by enumeration (E_raw, informed
    pairs).
    That mean is 26, the degrees of freedom, and the test fails above 75.
    """
    reference = Reference(lm, name_of(kernel.energy), TEMPERATURE, Q)
    least_likely = torch.tensor(reference.states[int(reference.target.argmin())])
    finished = run_from(kernel, least_likely.repeat(COPIES, 1), Schedule(SWEEPS, **blocks), seed=7)
    counts = np.bincount(number_of(finished.sweeps[-1].end.tokens, lm), minlength=len(reference.states))
    return p_value(counts, reference.target)


CASES = [("norm", name) for name in SCHEDULES]
CASES += zip(("raw", *SUMS), itertools.cycle(("informed pairs", "single")), strict=False)


@pytest.mark.parametrize(("energy", "schedule"), CASES)
def test_chain_has_the_target_distribution(schedule, energy):
    """All schedules are tested, and all energies with one of two moves; `test_exactness.py` combines all of them."""
    move, scan, blocks = SCHEDULES[schedule]
    kernel = kernel_of(LM, target_of(energy, LM), move=move, scan=scan, **Q)
    assert long_run_p_value(kernel, **blocks) > FALSE_ALARM


def annealed_p_value(first: float, last: float) -> float:
    """Run two left-to-right sweeps at these temperatures, and test their ends against sweeps at 0.4 and 3."""
    sweeps = [Reference(LM, "norm", temperature, Q).sweep() for temperature in (0.4, 3.0)]
    start = torch.zeros(COPIES, 3, dtype=torch.long)
    schedule = Schedule(2, temperature=first, final_temperature=last)
    finished = run_from(kernel_of(LM, scan={"scan_name": "sequential"}, **Q), start, schedule, seed=11)
    counts = np.bincount(number_of(finished.sweeps[-1].end.tokens, LM), minlength=27)
    return p_value(counts, (sweeps[0] @ sweeps[1])[0])


def test_each_sweep_is_at_its_own_temperature():
    assert annealed_p_value(0.4, 3.0) > FALSE_ALARM
    assert annealed_p_value(0.4, 0.4) < FALSE_ALARM
    assert annealed_p_value(3.0, 3.0) < FALSE_ALARM
    assert annealed_p_value(3.0, 0.4) < FALSE_ALARM


@pytest.mark.parametrize("schedule", ["single", "pairs", "informed", "informed whole to single"])
def test_an_energy_from_one_pass_has_the_target_distribution(schedule):
    """Masked conditionals are used only for proposals, and are kept until the state changes."""
    move, scan, blocks = SCHEDULES[schedule]
    assert long_run_p_value(kernel_of(LM, ENERGY, move=move, scan=scan, **Q), **blocks) > FALSE_ALARM


@pytest.mark.parametrize("nucleus", [0.8, 0.65])
def test_truncated_proposals_have_the_target_distribution(nucleus):
    assert long_run_p_value(kernel_of(LM, **Q, nucleus=nucleus, mix=0.1)) > FALSE_ALARM


class NoHastings(MaskedConditional):
    """A proposal whose ratio leaves out q."""

    def propose(self, *args):
        proposed = super().propose(*args)
        return proposed._replace(log_forward=proposed.log_reverse)


class ChangedSet(MaskedConditional):
    """A block move whose ratio masks only the positions where X and X' differ."""

    def propose(self, lm, state, update, uniforms):
        proposed = super().propose(lm, state, update, uniforms)
        differ = proposed.candidate != state.tokens
        some = differ.any(1)
        forward, reverse = torch.zeros_like(proposed.log_forward), torch.zeros_like(proposed.log_reverse)
        row, site = differ[some].nonzero(as_tuple=True)
        log_probs = self.log_q(state_logits(lm, lm.features(state.tokens[some], differ[some], state.context[some])))
        where = some.nonzero()[:, 0][row]
        forward.index_add_(0, where, log_probs.gather(1, proposed.candidate[where, site][:, None])[:, 0])
        reverse.index_add_(0, where, log_probs.gather(1, state.tokens[where, site][:, None])[:, 0])
        return proposed._replace(log_forward=forward, log_reverse=reverse)


class MeanForSum(MaskedConditional):
    """A block move whose ratio has the mean of the log-probabilities instead of their sum."""

    def propose(self, *args):
        proposed = super().propose(*args)
        return proposed._replace(log_forward=proposed.log_forward / 2, log_reverse=proposed.log_reverse / 2)


class FrozenNucleus(MaskedConditional):
    """A proposal from the nucleus only, without a share of the full conditional."""

    def propose(self, lm, state, update, uniforms):
        return draw_masked(lm, state, update.masked, uniforms, partial(conditional, **Q, nucleus=0.6, mix=0.0))


class NoChoiceInRatio(Informed):
    """An informed choice of the sites, whose probability is left out of the ratio."""

    def propose(self, *args):
        proposed = super().propose(*args)
        return proposed._replace(order=torch.full_like(proposed.order, NOWHERE))


class InformedByAnotherScan(Informed):
    """An informed choice that reads the uniforms of another move's scan, which are too few."""

    def propose(self, lm, state, update, uniforms):
        few = uniforms.clone()
        few[:, 1:] = 0
        return super().propose(lm, state, update, few)


PAIRS = SCHEDULES["pairs"].blocks

CONTROLS = {
    "no Hastings term": Moves(NoHastings),
    "changed set": Moves(ChangedSet, blocks=PAIRS),
    "mean for sum": Moves(MeanForSum, blocks=PAIRS),
    "frozen nucleus": Moves(FrozenNucleus),
    "informed, choice not in the ratio": Moves(NoChoiceInRatio),
    "informed pairs, choice not in the ratio": Moves(NoChoiceInRatio, blocks=PAIRS),
    "informed by another scan": Moves(InformedByAnotherScan),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_negative_controls_fail(name):
    broken, _, blocks = CONTROLS[name]
    assert long_run_p_value(kernel_of(LM, move=broken, **Q), **blocks) < FALSE_ALARM


class ForgetsWeights(Energy):
    """A sum of terms that forgets their weights."""

    def total(self, scores):
        nats = self.by_name(scores)
        return torch.stack([nats[term.name] for term in self.terms]).sum(0)


class LeavesOutTheLastTerm(Energy):
    """A sum of terms that leaves out the last one."""

    def total(self, scores):
        return self.by_name(scores)[self.terms[0].name] * self.terms[0].weight


@pytest.mark.parametrize("wrong", [ForgetsWeights, LeavesOutTheLastTerm])
def test_a_wrong_sum_of_terms_fails(wrong):
    assert long_run_p_value(kernel_of(LM, wrong(target_of("norm + one-pass", LM).terms), **Q)) < FALSE_ALARM


def test_an_energy_from_one_pass_without_the_choice_in_the_ratio_fails():
    assert long_run_p_value(kernel_of(LM, ENERGY, move=NoChoiceInRatio, **Q)) < FALSE_ALARM


def test_degenerate_gibbs_fails():
    kernel = kernel_of(LM, metropolis=False, **Q)
    assert long_run_p_value(kernel) < FALSE_ALARM
