"""The transitions of every kernel equal the enumerated ones.

The chi-square tests have fixed seeds and fail at p < 1e-6, so a right kernel fails with one seed in a million. The
negative controls in `test_target.py` show that the same test finds wrong kernels.
"""

import itertools

import numpy as np
import pytest
import torch

from fairseq_mh.mcmc.energy import ENERGIES
from fairseq_mh.mcmc.moves.informed import FLOOR, Informed
from tests.mcmc.harness import FALSE_ALARM, at, kernel_of, number_of, p_value, step, target_of
from tests.mcmc.tables import SUMS, Reference, inconsistent_table, random_table

pytestmark = pytest.mark.usefixtures("large_queries")

TABLES = {
    "V2T2": random_table(2, 2, seed=1),
    "V3T3": random_table(3, 3, seed=2),
    "V4T2": random_table(4, 2, seed=3),
    "V2T4": random_table(2, 4, seed=4),
    "section 2.1": inconsistent_table(),
}

PROPOSALS = (  # the target's temperature, and the proposal's settings
    (1.0, {"temperature": 1.0}),
    (0.5, {"temperature": 1.0}),
    (2.0, {"temperature": 0.7}),
    (1.0, {"temperature": 1.3, "nucleus": 0.7, "mix": 0.2}),
    (1.0, {"temperature": 1.0, "nucleus": 0.4, "mix": 0.1}),
)


TARGETS = (*ENERGIES, "one-pass", *SUMS)


def settings(energies):
    """Combine every table with every energy, and every energy with every proposal."""
    names = ("name", "energy", "temperature", "q")
    pairs = itertools.product(enumerate(energies), enumerate(TABLES))
    cases = [(name, energy, *PROPOSALS[(i + j) % len(PROPOSALS)]) for (i, energy), (j, name) in pairs]
    return pytest.mark.parametrize(names, cases)


def moves_of(reference) -> dict:
    """Return the moves of all single sites, of a pair and of all sites: sites -> P(x -> x')."""
    sites = [(site,) for site in range(reference.length)]
    return {move: reference.transition(move) for move in (*sites, (0, reference.length - 1), tuple(range(len(sites))))}


@settings(TARGETS)
def test_reference_is_exact(name, energy, temperature, q):
    """The enumerated Metropolis-Hastings satisfies detailed balance, keeps the target and reaches every state."""
    reference = Reference(TABLES[name], energy, temperature, q)
    informed_updates = [reference.informed_update(size, FLOOR) for size in range(1, reference.length + 1)]
    for matrix in (*moves_of(reference).values(), *informed_updates):
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-10)
        flow = reference.target[:, None] * matrix
        np.testing.assert_allclose(flow, flow.T, atol=1e-10)
        np.testing.assert_allclose(flow.sum(0), reference.target, atol=1e-10)
    assert (np.linalg.matrix_power(reference.sweep(), 50) > 0).all()
    assert (np.linalg.matrix_power(informed_updates[0], 50) > 0).all()


@settings(TARGETS)
def test_kernel_matches_the_enumerated_transitions(name, energy, temperature, q):
    """Every move is tried from every state: ratios agree to 1e-10, and frequencies within sampling error."""
    lm, copies = TABLES[name], 1000
    reference = Reference(lm, energy, temperature, q)
    states = torch.tensor(reference.states).repeat_interleave(copies, 0)
    kernel = kernel_of(lm, target_of(energy, lm), **q)
    for sites, expected in moves_of(reference).items():
        masked = torch.zeros_like(states, dtype=torch.bool)
        masked[:, list(sites)] = True
        info = one_step(reference, kernel, states, masked, temperature, expected)
        check_ratios(reference, lm, info, states, sites, expected)


@settings(TARGETS)
def test_informed_updates_match_the_enumerated_transitions(name, energy, temperature, q):
    """The choice of the sites depends on the tokens, so the ratio has its probability in both directions."""
    lm, copies = TABLES[name], 1000
    reference = Reference(lm, energy, temperature, q)
    states = torch.tensor(reference.states).repeat_interleave(copies, 0)
    kernel = kernel_of(lm, target_of(energy, lm), move=Informed, **q)
    for block_size in {1, 2, reference.length}:
        masked = torch.arange(reference.length).expand(len(states), -1) < block_size
        info = one_step(reference, kernel, states, masked, temperature, reference.informed_update(block_size, FLOOR))
        if block_size == 1:  # for more sites, the candidate does not tell in which order they were chosen
            for site in range(reference.length):
                part = reference.informed((site,), FLOOR)
                check_ratios(reference, lm, info, states, (site,), part, informed=True)


def one_step(reference, kernel, states, masked, temperature, expected):
    """Update all states once, and test where they end against the enumerated transitions.

    Returns:
        The `Info` of the same updates with every candidate evaluated to the end.
    """
    uniforms = torch.from_numpy(np.random.default_rng(5).random((len(states), 2 * reference.length + 1)))
    state, log_u = at(kernel, states), uniforms[:, -1].log()
    after, info = step(kernel, state, masked, temperature, uniforms)
    counts = np.zeros(expected.shape)
    np.add.at(counts, (number_of(states, kernel.lm), number_of(after.tokens, kernel.lm)), 1)
    lowest = min(p_value(*rows) for rows in zip(counts, expected, strict=True))
    assert lowest > FALSE_ALARM / len(counts)
    uniforms[:, -1] = 0  # below every ratio: all of each candidate is evaluated
    _, whole = step(kernel, at(kernel, states), masked, temperature, uniforms)
    assert torch.equal(info.accepted, log_u < whole.log_ratio)  # an early rejection is right
    assert (info.cost.rows <= whole.cost.rows).all()
    assert (info.cost.expert_rows <= whole.cost.expert_rows).all()
    return whole


def check_ratios(reference, lm, info, states, sites, expected, informed=False):
    """Check that q min(1, ratio) of every drawn candidate equals the enumerated transition probability."""
    differ = info.candidate != states
    differ[:, list(sites)] = False
    drawn = (~differ.any(1) & (info.candidate != states).any(1)).nonzero()[:, 0]
    numbers = zip(number_of(states[drawn], lm).tolist(), number_of(info.candidate[drawn], lm).tolist(), strict=True)
    pairs = dict(zip(numbers, drawn.tolist(), strict=True))
    for (i, j), n in pairs.items():
        state, candidate = reference.states[i], reference.states[j]
        forward = {new: there for new, there, _ in reference.proposals(state, sites)}[candidate]
        forward *= reference.choice(state, sites, FLOOR) if informed else 1.0
        assert forward * min(1.0, info.log_ratio[n].exp().item()) == pytest.approx(expected[i, j], abs=1e-10)
