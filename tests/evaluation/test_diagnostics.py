"""Tests of the diagnostics on chains with known results."""

import numpy as np
import polars as pl
import pytest

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.diagnostics import diagnose, diagnosis_summary, first_ids

CHAINS, SWEEPS, LENGTH = 4, 200, 3


def trace_of(tokens, temperature=lambda sweep: 1.0) -> pl.DataFrame:
    """Return a trace of states (chains, sweeps + 1, LENGTH); the energy of a state is the sum of its symbols."""
    records = [
        {
            "id": 0,
            "length": LENGTH,
            "chain": chain,
            "sweep": sweep,
            "temperature": temperature(sweep),
            "tokens": state.tolist(),
            "energy": float(state.sum()),
            "proposals": LENGTH if sweep else 0,
            "accepted": 2 if sweep else 0,
            "novel": 1 if sweep else 0,
        }
        for chain, states in enumerate(tokens)
        for sweep, state in enumerate(states)
    ]
    return pl.DataFrame(records).sample(fraction=1.0, shuffle=True, seed=1)  # the order of the records must not matter


def independent(seed=0):
    return np.random.default_rng(seed).integers(0, 100, (CHAINS, SWEEPS + 1, LENGTH))


def autoregressive(coefficient, seed=0):
    """Return states whose energies are a Gaussian AR(1) series, in whole numbers."""
    noise = np.random.default_rng(seed).normal(size=(CHAINS, SWEEPS + 1))
    series = np.zeros_like(noise)
    for sweep in range(1, SWEEPS + 1):
        series[:, sweep] = coefficient * series[:, sweep - 1] + noise[:, sweep]
    return np.repeat((1e4 * series).astype(int)[..., None], LENGTH, 2)


def test_independent_draws_have_converged():
    row = diagnose(trace_of(independent()), burn_in=0).row(0, named=True)
    assert row["r_hat"] < 1.02
    assert 0.7 * CHAINS * SWEEPS < row["ess_bulk"] < 1.4 * CHAINS * SWEEPS
    assert abs(row["autocorrelation"]) < 0.1
    assert row["acceptance_rate"] == pytest.approx(2 / 3)
    assert row["novel_rate"] == pytest.approx(1 / 3)
    assert row["hamming"] > 0.9
    assert row["frozen"] == 0


def test_autocorrelation_and_ess_of_an_autoregressive_chain():
    """ESS is n (1 - rho) / (1 + rho) for AR(1): 800 / 9 at rho = 0.8."""
    row = diagnose(trace_of(autoregressive(0.8)), burn_in=0).row(0, named=True)
    assert row["autocorrelation"] == pytest.approx(0.8, abs=0.08)
    assert 50 < row["ess_bulk"] < 150


def test_chains_at_different_energies_have_not_converged():
    tokens = independent()
    tokens[0] += 1000
    assert diagnose(trace_of(tokens), burn_in=0)["r_hat"][0] > 1.5
    assert diagnosis_summary(diagnose(trace_of(tokens), burn_in=0))["converged"] == 0


@pytest.mark.parametrize("still", [1, CHAINS])
def test_frozen_chains_are_counted_and_never_converged(still):
    tokens = independent()
    tokens[:still] = tokens[:still, :1]
    table = diagnose(trace_of(tokens), burn_in=0)
    row = table.row(0, named=True)
    assert row["frozen"] == still
    assert row["r_hat"] is row["ess_bulk"] is row["ess_tail"] is None
    assert diagnosis_summary(table)["converged"] == 0
    assert diagnosis_summary(table)["frozen"] == still / CHAINS


def test_the_first_sentences():
    other = trace_of(independent()).with_columns(id=pl.lit(5, dtype=pl.Int64))
    trace = pl.concat([other, trace_of(independent(), temperature=lambda sweep: 2.0)])
    assert first_ids(trace, 1)["id"].unique().to_list() == [0]
    assert first_ids(trace, 2).height == trace.height


def test_refusals():
    annealed = trace_of(independent(), temperature=lambda sweep: 1 - sweep / 1000)
    with pytest.raises(UserError, match="annealed"):
        diagnose(annealed, burn_in=0)
    changed_once = trace_of(independent(), temperature=lambda sweep: 2.0 if sweep <= 7 else 1.0)
    assert diagnose(changed_once, burn_in=7)["r_hat"][0] < 1.02
    with pytest.raises(UserError, match="annealed"):
        diagnose(changed_once, burn_in=6)
    with pytest.raises(UserError, match="too few"):
        diagnose(trace_of(independent()[:, :15]), burn_in=0)


CUTS = {
    "cut off": lambda trace: trace.sort("chain", "sweep").head(len(trace) - 2),
    "one line short": lambda trace: trace.sort("chain", "sweep").head(len(trace) - 1),
    "without a start": lambda trace: trace.filter(pl.col("sweep") > 0),
    "written twice": lambda trace: pl.concat([trace, trace.head(1)]),
}


@pytest.mark.parametrize("name", CUTS)
def test_an_incomplete_trace_is_refused(name):
    with pytest.raises(UserError, match="cut off or was written twice: chain"):
        diagnose(CUTS[name](trace_of(independent())), burn_in=0)


def test_convergence_of_one_chain_is_unknown():
    table = diagnose(trace_of(independent()[:1]), burn_in=0)
    summary = diagnosis_summary(table)
    assert table["r_hat"].to_list() == [None]
    assert np.isnan(summary["converged"])
    assert np.isnan(summary["r_hat"])
    assert summary["frozen"] == 0
