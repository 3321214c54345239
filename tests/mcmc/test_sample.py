"""The sampler in one call, on a model that the user defines."""

import math

import numpy as np
import pytest
import torch

from fairseq_mh.mcmc import Energy, Kernel, LogitsLM, MaskedConditional, Schedule, Term, finish, sample, sum_of, sweeps
from tests.mcmc.harness import FALSE_ALARM, LM, number_of, p_value, run_from, target_of
from tests.mcmc.tables import Reference, TableEnergy


def own_model():
    """Return a model whose logits are those of the table; its mask is a symbol that no state may hold."""
    mask = LM.symbols

    def logits(tokens, masked, context):
        found = LM.features(tokens, masked, context)
        return torch.nn.functional.pad(found, (0, 1))  # the mask's own logit

    return LogitsLM(logits, vocabulary=LM.symbols + 1, forbidden=[mask], dtype=torch.float64)


@pytest.mark.usefixtures("large_queries")
def test_a_users_own_model_is_sampled_exactly():
    """The last states of 5,000 chains pass a chi-square test, which a right sampler fails for one seed in a million."""
    reference = Reference(LM, "norm", 1.0, {"temperature": 1.0})
    start = torch.zeros(5000, 3, dtype=torch.long)
    for metropolis in (True, False):
        ends = sample(own_model(), start, sweeps=40, seed=7, metropolis=metropolis).sweeps[-1].end.tokens
        counts = np.bincount(number_of(ends, LM), minlength=len(reference.states))
        assert (p_value(counts, reference.target) > FALSE_ALARM) == metropolis


def test_sample_equals_a_run_of_the_parts():
    start = torch.zeros(20, 3, dtype=torch.long)
    settings = {"sweeps": 4, "temperature": 0.5, "scan": "sequential"}
    found = sample(LM, start, **settings)
    kernel = Kernel(LM, sum_of([Term("norm")]), MaskedConditional("sequential"))
    expected = run_from(kernel, start, Schedule(4, temperature=0.5, final_temperature=0.5))
    assert all(torch.equal(a.end.tokens, b.end.tokens) for a, b in zip(found.sweeps, expected.sweeps, strict=True))
    assert sum(ended.number > 0 for ended in sweeps(LM, start, **settings)) == 20 * 4
    watched = finish(sweeps(LM, start, **settings))
    assert torch.equal(watched.sweeps[-1].end.tokens, found.sweeps[-1].end.tokens)
    total = kernel.energy.total
    assert (total(found.lowest.scores) <= total(found.sweeps[-1].end.scores)).all()


@pytest.mark.parametrize("energy", ["norm", "raw", "raw + norm"])
def test_the_states_and_energies_of_a_run_are_arrays(energy):
    """They have a row for each chain and a column for each sweep but the start, with the weights of the energy."""
    run = sample(LM, torch.arange(3).repeat(4, 1), sweeps=6, burn_in=2, energy=target_of(energy, LM))
    assert run.tokens.shape == (4, 6, 3)
    assert run.energies.shape == (4, 6)
    assert all(run.tokens[:, s - 1].equal(run.sweeps[s].end.tokens) for s in range(1, 7))
    reference = Reference(LM, energy, 1.0, {"temperature": 1.0})
    expected = [[reference.energy(state, energy) for state in chain] for chain in run.tokens.tolist()]
    np.testing.assert_allclose(run.energies, expected, atol=1e-10)
    still = sample(LM, torch.arange(3).repeat(4, 1), sweeps=0)
    assert (still.tokens.shape, still.energies.shape) == ((4, 0, 3), (4, 0))


REFUSED = {
    "no such energy": {"energy": "cooked"},
    "no such scan": {"scan": "backwards"},
    "informed Gibbs": {"scan": "informed", "metropolis": False},
    "temperature": {"temperature": 0.0},
    "a start outside the state space": {"start": torch.full((2, 3), 3)},
    "a start without a symbol of its number": {"start": torch.full((2, 3), 99)},
    "a start with a negative number": {"start": torch.full((2, 3), -2)},
    "an empty start": {"start": torch.full((2, 3), -1)},
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_settings_are_refused(name):
    settings = {"start": torch.zeros(2, 3, dtype=torch.long), **REFUSED[name]}
    with pytest.raises(ValueError, match=r"\w"):
        sample(own_model(), **settings)


TABLE = TableEnergy(LM, seed=6)
NO_SUMS = {
    "an unknown energy of masked conditionals": (Term("norm"), Term("cooked")),
    "two terms of one name": (Term("table", TABLE), Term("table", TABLE)),
    "a weight below 0": (Term("norm"), Term("table", TABLE, weight=-1.0)),
    "a weight that is not a number": (Term("norm", weight=math.nan),),
    "no weight": (Term("norm", weight=0.0),),
    "no term": (),
}


@pytest.mark.parametrize("name", NO_SUMS)
def test_invalid_sums_of_terms_are_refused(name):
    with pytest.raises(ValueError, match=r"\w"):
        Energy(NO_SUMS[name])
