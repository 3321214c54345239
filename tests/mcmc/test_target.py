"""Where long chains end: in the target distribution, and wrong kernels' do not."""

import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.mcmc.masked_lm import state_logits
from fairseq_mh.mcmc.proposal import NOWHERE, conditional, informed, masked_conditional
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.mcmc.surrogate import BlockPseudoLikelihood
from tests.mcmc.harness import FALSE_ALARM, LM, SCHEDULES, Q, kernel_of, number_of, p_value, propose_of, run_from
from tests.mcmc.tables import Reference, TableSurrogate

COPIES, SWEEPS, TEMPERATURE = 5000, 40, 1.0
SURROGATE = TableSurrogate(LM, seed=6)


def long_run_p_value(kernel, lm=LM, energy="norm", **schedule) -> float:
    """Independent chains from one state, the least likely one; where they end must follow the target.

    The slowest of these chains, informed with E_raw, is within 2e-3 of it then (total variation, enumerated).
    """
    reference = Reference(lm, energy, TEMPERATURE, Q, SURROGATE)
    worst = torch.tensor(reference.states[int(reference.target.argmin())])
    finished = run_from(kernel, worst.repeat(COPIES, 1), Schedule(SWEEPS, **schedule), seed=7)
    counts = np.bincount(number_of(finished.sweeps[-1].end.tokens, lm), minlength=len(reference.states))
    return p_value(counts, reference.target)


CASES = [("norm", name) for name in SCHEDULES] + list(
    itertools.product(("raw", "centred"), ("single", "informed pairs"))
)


@pytest.mark.parametrize(("energy", "schedule"), CASES)
def test_chain_has_the_target_distribution(schedule, energy):
    """Every schedule, and every energy with moves of both kinds; single updates are tested with all of them."""
    schedule = SCHEDULES[schedule]
    kernel = kernel_of(LM, energy, propose=propose_of(schedule), **Q)
    assert long_run_p_value(kernel, energy=energy, **schedule) > FALSE_ALARM


def annealed_p_value(first: float, last: float) -> float:
    """Two left-to-right sweeps from one state, said to be at 0.4 and then at 3: where they end, against enumeration."""
    sweeps = [Reference(LM, "norm", temperature, Q).sweep() for temperature in (0.4, 3.0)]
    start = torch.zeros(COPIES, 3, dtype=torch.long)
    schedule = Schedule(2, temperature=first, final_temperature=last, scan="sequential")
    finished = run_from(kernel_of(LM, **Q), start, schedule, seed=11)
    counts = np.bincount(number_of(finished.sweeps[-1].end.tokens, LM), minlength=27)
    return p_value(counts, (sweeps[0] @ sweeps[1])[0])


def test_each_sweep_is_at_its_own_temperature():
    assert annealed_p_value(0.4, 3.0) > FALSE_ALARM
    assert annealed_p_value(0.4, 0.4) < FALSE_ALARM
    assert annealed_p_value(3.0, 3.0) < FALSE_ALARM
    assert annealed_p_value(3.0, 0.4) < FALSE_ALARM


@pytest.mark.parametrize(("energy", "schedule"), [("norm", "single"), ("raw", "pairs"), ("norm", "informed")])
def test_delayed_acceptance_has_the_target_distribution(schedule, energy):
    schedule = SCHEDULES[schedule]
    kernel = kernel_of(LM, energy, propose=propose_of(schedule), surrogate=BlockPseudoLikelihood(2), **Q)
    assert long_run_p_value(kernel, energy=energy, **schedule) > FALSE_ALARM


@pytest.mark.parametrize("schedule", ["single", "pairs", "informed", "informed whole to single"])
def test_an_energy_of_one_row_has_the_target_distribution(schedule):
    """Nothing is evaluated but for proposals, and what was, is remembered for as long as the state is."""
    schedule = SCHEDULES[schedule]
    kernel = kernel_of(LM, "surrogate", propose=propose_of(schedule), surrogate=SURROGATE, **Q)
    assert long_run_p_value(kernel, energy="surrogate", **schedule) > FALSE_ALARM


@pytest.mark.parametrize("q", [{"nucleus": 0.8, "mix": 0.1}, {"top_k": 2, "mix": 0.1}], ids=["nucleus", "top k"])
def test_truncated_proposals_have_the_target_distribution(q):
    assert long_run_p_value(kernel_of(LM, **Q, **q)) > FALSE_ALARM


def no_hastings(*args, log_q):
    proposed = masked_conditional(*args, log_q=log_q)
    return proposed._replace(log_forward=proposed.log_reverse)


def changed_set(lm, state, masked, uniforms, log_q):
    """Trap 1: a block move, its ratio conditioned on the positions where X and X' happen to differ."""
    proposed = masked_conditional(lm, state, masked, uniforms, log_q)
    differ = proposed.candidate != state.tokens
    some = differ.any(1)
    forward, reverse = torch.zeros_like(proposed.log_forward), torch.zeros_like(proposed.log_reverse)
    row, site = differ[some].nonzero(as_tuple=True)
    log_probs = log_q(state_logits(lm, lm.features(state.tokens[some], differ[some], state.context[some])))
    where = some.nonzero()[:, 0][row]
    forward.index_add_(0, where, log_probs.gather(1, proposed.candidate[where, site][:, None])[:, 0])
    reverse.index_add_(0, where, log_probs.gather(1, state.tokens[where, site][:, None])[:, 0])
    return proposed._replace(log_forward=forward, log_reverse=reverse)


def mean_for_sum(*args, log_q):
    """Trap 3: the mean of log-probabilities in the ratio of a block of two."""
    proposed = masked_conditional(*args, log_q=log_q)
    return proposed._replace(log_forward=proposed.log_forward / 2, log_reverse=proposed.log_reverse / 2)


def frozen_nucleus(*args, log_q):
    """Trap 2: the two likeliest symbols alone, with no share of the others."""
    return masked_conditional(*args, log_q=partial(conditional, **Q, top_k=2))


def no_way_back(*args, **settings):
    """An informed choice of the sites whose probability is left out of the ratio."""
    proposed = informed(*args, **settings)
    return proposed._replace(order=torch.full_like(proposed.order, NOWHERE))


PAIRS = SCHEDULES["pairs"]

CONTROLS = {
    "no Hastings term": (no_hastings, {}),
    "changed set": (changed_set, PAIRS),
    "mean for sum": (mean_for_sum, PAIRS),
    "frozen nucleus": (frozen_nucleus, {}),
    "informed without its ratio": (no_way_back, SCHEDULES["informed"]),
    "informed pairs without their ratio": (no_way_back, SCHEDULES["informed pairs"]),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_negative_controls_fail(name):
    broken, schedule = CONTROLS[name]
    assert long_run_p_value(kernel_of(LM, propose=broken, **Q), **schedule) < FALSE_ALARM


class Forgetful(Kernel):
    """Delayed acceptance whose second stage does not take the surrogate back."""

    def _screen(self, *args):
        screened = super()._screen(*args)
        return screened._replace(log_rest=screened.log_rest.where(screened.log_rest.isinf(), 0))


def test_a_surrogate_that_is_not_taken_back_fails():
    kernel = kernel_of(LM, surrogate=BlockPseudoLikelihood(1), **Q)
    kernel = Forgetful(**vars(kernel))
    assert long_run_p_value(kernel) < FALSE_ALARM


def test_an_energy_of_one_row_without_its_choice_in_the_ratio_fails():
    kernel = kernel_of(LM, "surrogate", surrogate=SURROGATE, **Q)
    kernel = replace(kernel, propose=partial(no_way_back, log_q=partial(conditional, **Q), by="surrogate"))
    assert long_run_p_value(kernel, energy="surrogate", **SCHEDULES["informed"]) < FALSE_ALARM


def test_degenerate_gibbs_fails():
    kernel = kernel_of(LM, metropolis=False, **Q)
    assert long_run_p_value(kernel) < FALSE_ALARM
