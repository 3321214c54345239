"""Whether chains have converged, what is said if not, and their draws in ArviZ."""

import sys

import numpy as np
import pytest
import torch

from fairseq_mh.convergence import BY_CHANCE, CONVERGED, SHORTEST, Draws, convergence, to_arviz
from fairseq_mh.errors import UserError
from fairseq_mh.mcmc import sample
from tests.mcmc.harness import LM

pytest.importorskip("arviz_stats", reason="needs the extra `eval`")


def draws(chains=4, count=500, seed=0):
    """Return independent draws of chains, whose energies are the sums of their symbols."""
    tokens = np.random.default_rng(seed).integers(0, 100, (chains, count, 3))
    return Draws(tokens, tokens.sum(-1).astype(float))


def frozen():
    tokens = draws().tokens.copy()
    tokens[1] = tokens[1, 0]
    return Draws(tokens, tokens.sum(-1).astype(float))


def apart():
    tokens = draws().tokens.copy()
    tokens[1] += 50
    return Draws(tokens, tokens.sum(-1).astype(float))


ADVICE = {
    "converged": (draws(), ""),
    "frozen": (frozen(), "never moved"),
    "apart": (apart(), "the chains disagree"),
    "one chain": (draws(chains=1), "one chain"),
    "few": (draws(count=SHORTEST - 1), "fewer than 20 draws"),
    "one draw": (draws(count=1), "fewer than 20 draws"),
    "none": (draws(count=0), "fewer than 20 draws"),
}


@pytest.mark.parametrize("case", ADVICE)
def test_advice_on_chains_that_have_not_converged(case):
    given, words = ADVICE[case]
    found = convergence(given)
    assert words in found.advice
    assert bool(words) == bool(found.advice)
    assert (found.chains, found.draws) == given.energies.shape
    assert (found.r_hat is not None and found.r_hat <= CONVERGED) == (case == "converged")


def test_independent_draws_disagree_by_chance_only_if_they_are_few():
    """Of 100 runs of independent draws; the figures of the advice."""
    few, many = (
        [convergence(draws(count=count, seed=seed)).r_hat <= CONVERGED for seed in range(100)]
        for count in (SHORTEST, BY_CHANCE)
    )
    assert np.mean(few) < 0.8
    assert np.mean(many) >= 0.97


def test_a_run_of_the_sampler_converges_from_burn_in_on():
    run = sample(LM, torch.arange(3).repeat(20, 1), sweeps=70, seed=3)
    whole, later = convergence(run), convergence(run, burn_in=20)
    assert (whole.draws, later.draws) == (70, 50)
    assert later.r_hat < 1.05
    assert 400 < later.ess_bulk < 1000


def test_draws_are_exported_to_arviz():
    pytest.importorskip("arviz_base", reason="needs ArviZ's arviz-base")
    run = sample(LM, torch.arange(3).repeat(4, 1), sweeps=30)
    tree = to_arviz(run, burn_in=10)
    posterior = tree["posterior"]
    assert posterior["energy"].dims == ("chain", "draw")
    assert posterior["tokens"].dims == ("chain", "draw", "position")
    np.testing.assert_array_equal(posterior["energy"], run.energies[:, 10:])
    np.testing.assert_array_equal(posterior["tokens"], run.tokens[:, 10:])


@pytest.mark.parametrize(("use", "package"), [(convergence, "arviz_stats"), (to_arviz, "arviz_base")])
def test_the_error_without_arviz_names_the_extra(monkeypatch, use, package):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"{package}: pip install 'fairseq-mh\[eval\]'"):
        use(draws())
