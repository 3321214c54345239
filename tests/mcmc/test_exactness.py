"""Every kernel against enumeration.

The chi-square tests have fixed seeds and reject at p < 1e-6, so each would fail one right
kernel in a million seeds; the negative controls show that the same test catches wrong ones.
"""

from functools import partial

import numpy as np
import pytest
import scipy.stats
import torch
from tables import Reference, TableLM, inconsistent_table, joint_table, random_table

from fairseq_mh.mcmc.chain import chain_stream, run
from fairseq_mh.mcmc.energy import ENERGIES, site_scores, total
from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.mcmc.masked_lm import state_logits
from fairseq_mh.mcmc.proposal import Proposed, inverse_cdf, masked_conditional
from fairseq_mh.mcmc.schedule import SCANS, Schedule

FALSE_ALARM = 1e-6
TABLES = {
    "V2T2": random_table(2, 2, seed=1),
    "V3T3": random_table(3, 3, seed=2),
    "V4T2": random_table(4, 2, seed=3),
    "V2T4": random_table(2, 4, seed=4),
    "section 2.1": inconsistent_table(),
}
SETTINGS = pytest.mark.parametrize(
    ("name", "energy", "temperature", "proposal_temperature"),
    [(name, energy, *taus) for name in TABLES for energy in ENERGIES for taus in ((1.0, 1.0), (0.5, 1.0), (2.0, 0.7))],
)


def kernel_of(lm, copies, energy="norm", proposal_temperature=1.0, metropolis=True):
    propose = partial(masked_conditional, temperature=proposal_temperature)
    return Kernel(lm, torch.zeros(copies, dtype=torch.long), energy, propose, metropolis)


def p_value(counts: np.ndarray, expected: np.ndarray) -> float:
    """Chi-square of counts against probabilities; the rarest cells are put together until 5 are expected."""
    expected = expected * counts.sum()
    if counts[expected == 0].any():
        return 0.0
    order = np.argsort(expected)
    rare = min(int((np.cumsum(expected[order]) < 5).sum()) + 1, len(order))
    pooled = [np.append(cells[order][rare:], cells[order][:rare].sum()) for cells in (counts, expected)]
    return scipy.stats.chi2.sf(((pooled[0] - pooled[1]) ** 2 / pooled[1]).sum(), max(len(pooled[0]) - 1, 1))


@SETTINGS
def test_reference_is_exact(name, energy, temperature, proposal_temperature):
    """The enumerated Metropolis-Hastings satisfies detailed balance, keeps the target and reaches every state."""
    reference = Reference(TABLES[name], energy, temperature, proposal_temperature)
    for site in range(reference.length):
        flow = reference.target[:, None] * reference.transition(site)
        np.testing.assert_allclose(flow, flow.T, atol=1e-10)
        np.testing.assert_allclose(flow.sum(0), reference.target, atol=1e-10)
    assert (np.linalg.matrix_power(reference.sweep(), 50) > 0).all()


@SETTINGS
def test_kernel_matches_the_enumerated_transitions(name, energy, temperature, proposal_temperature):
    """From every state and at every site: the ratio to 1e-10, and the frequencies within sampling error."""
    lm, copies = TABLES[name], 4000
    reference = Reference(lm, energy, temperature, proposal_temperature)
    states = torch.tensor(reference.states).repeat_interleave(copies, 0)
    kernel = kernel_of(lm, len(states), energy, proposal_temperature)
    start = kernel.init(states)
    lowest = 1.0
    for site in range(reference.length):
        masked = torch.zeros_like(states, dtype=torch.bool)
        masked[:, site] = True
        uniforms = torch.from_numpy(np.random.default_rng(site).random((len(states), 2)))
        after, info = kernel.step(start, masked, temperature, uniforms)
        expected = reference.transition(site)
        origin = torch.arange(len(reference.states)).repeat_interleave(copies)
        destination = number_of(after.tokens, lm)
        counts = np.zeros(expected.shape)
        np.add.at(counts, (origin, destination), 1)
        lowest = min(lowest, *(p_value(*rows) for rows in zip(counts, expected, strict=True)))
        check_ratios(reference, lm, info, origin, site, expected)
    tests = len(reference.states) * reference.length
    assert lowest > FALSE_ALARM / tests


def check_ratios(reference, lm, info, origin, site, expected):
    """q min(1, ratio) of every candidate that came up is the enumerated transition probability."""
    candidate = number_of(info.candidate, lm)
    for i, j in set(zip(origin.tolist(), candidate.tolist(), strict=True)):
        if i == j:
            continue
        at = ((origin == i) & (candidate == j)).nonzero()[0, 0]
        q = reference.softmax(reference.logits(reference.states[i], site), reference._tau_q)
        accepted = min(1.0, info.log_ratio[at].exp().item())
        assert q[reference.states[j][site]] * accepted == pytest.approx(expected[i, j], abs=1e-10)


def number_of(tokens, lm):
    places = lm.symbols ** torch.arange(tokens.size(1) - 1, -1, -1)
    return (tokens * places).sum(1)


# --- whole chains -------------------------------------------------------------------------------

COPIES, SWEEPS, TEMPERATURE, PROPOSAL_TEMPERATURE = 6000, 40, 1.0, 1.6
LM = random_table(3, 3, seed=5)


def long_run_p_value(kernel, scan="random", lm=LM, energy="norm", sweeps=SWEEPS) -> float:
    """Independent chains from one state, the least likely one; where they end must follow the target."""
    reference = Reference(lm, energy, TEMPERATURE, PROPOSAL_TEMPERATURE)
    worst = torch.tensor(reference.states[int(reference.target.argmin())])
    streams = [chain_stream(7, 0, 3, chain) for chain in range(COPIES)]
    finished = run(kernel, worst.repeat(COPIES, 1), streams, Schedule(sweeps, scan=scan))
    counts = np.bincount(number_of(finished.sweeps[-1].end.tokens, lm), minlength=len(reference.states))
    return p_value(counts, reference.target)


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("energy", ENERGIES)
def test_chain_has_the_target_distribution(scan, energy):
    kernel = kernel_of(LM, COPIES, energy, PROPOSAL_TEMPERATURE)
    assert long_run_p_value(kernel, scan, energy=energy) > FALSE_ALARM


def no_hastings(lm, rows, state, masked, uniforms):
    proposed = masked_conditional(lm, rows, state, masked, uniforms, PROPOSAL_TEMPERATURE)
    return proposed._replace(log_forward=proposed.log_reverse)


def pair(masked):
    """The masked site and its right neighbour: a block of two."""
    return masked | masked.roll(1, 1)


def block(lm, rows, state, masked, uniforms):
    """A right block move: the ratio conditions on the masked set."""
    both = torch.cat([uniforms, (uniforms * 7919) % 1], 1)  # a second uniform, as good as independent here
    return masked_conditional(lm, rows, state._replace(features=None), pair(masked), both, PROPOSAL_TEMPERATURE)


def changed_set(lm, rows, state, masked, uniforms):
    """Trap 1: the same move, its ratio conditioned on the positions where X and X' happen to differ."""
    proposed = block(lm, rows, state, masked, uniforms)
    differ = proposed.candidate != state.tokens
    some = differ.any(1)
    forward, reverse = torch.zeros_like(proposed.log_forward), torch.zeros_like(proposed.log_reverse)
    row, site = differ[some].nonzero(as_tuple=True)
    log_q = state_logits(lm, lm.features(state.tokens[some], differ[some], rows[some])) / PROPOSAL_TEMPERATURE
    log_q = log_q.log_softmax(-1)
    where = some.nonzero()[:, 0][row]
    forward.index_add_(0, where, log_q.gather(1, proposed.candidate[where, site][:, None])[:, 0])
    reverse.index_add_(0, where, log_q.gather(1, state.tokens[where, site][:, None])[:, 0])
    return proposed._replace(log_forward=forward, log_reverse=reverse)


def mean_for_sum(lm, rows, state, masked, uniforms):
    """Trap 3: the mean of log-probabilities in the ratio of a block of two."""
    proposed = block(lm, rows, state, masked, uniforms)
    return proposed._replace(log_forward=proposed.log_forward / 2, log_reverse=proposed.log_reverse / 2)


def frozen_nucleus(lm, rows, state, masked, uniforms):
    """Trap 2: the two likeliest symbols alone, with no share of the others."""
    chain, site = masked.nonzero(as_tuple=True)
    logits = state_logits(lm, state.features[masked]) / PROPOSAL_TEMPERATURE
    log_q = logits.masked_fill(logits < logits.topk(2, -1).values[:, -1:], -torch.inf).log_softmax(-1)
    drawn = inverse_cdf(log_q, uniforms[chain, 0])
    candidate = state.tokens.clone()
    candidate[chain, site] = drawn
    forward = log_q.gather(1, drawn[:, None])[:, 0]
    reverse = log_q.gather(1, state.tokens[chain, site][:, None])[:, 0]
    return Proposed(candidate, forward, reverse, torch.zeros_like(rows))


def test_a_right_block_move_passes():
    """So that the broken block moves below fail for what is broken in them."""
    kernel = Kernel(LM, torch.zeros(COPIES, dtype=torch.long), "norm", block)
    assert long_run_p_value(kernel) > FALSE_ALARM


@pytest.mark.parametrize("broken", [no_hastings, changed_set, mean_for_sum, frozen_nucleus])
def test_negative_controls_fail(broken):
    kernel = Kernel(LM, torch.zeros(COPIES, dtype=torch.long), "norm", broken)
    assert long_run_p_value(kernel) < FALSE_ALARM


def test_degenerate_gibbs_fails():
    kernel = kernel_of(LM, COPIES, proposal_temperature=PROPOSAL_TEMPERATURE, metropolis=False)
    assert long_run_p_value(kernel) < FALSE_ALARM


def test_exact_conditionals_are_always_accepted():
    """Trap 7: with E = -log p of a joint p, the move is Gibbs. With one position, E_norm is that energy."""
    lm = joint_table(np.random.default_rng(0).dirichlet(np.ones(4)))
    kernel = kernel_of(lm, 1000)
    streams = [chain_stream(1, 0, 1, chain) for chain in range(1000)]
    finished = run(kernel, torch.zeros(1000, 1, dtype=torch.long), streams, Schedule(5))
    for sweep in finished.sweeps[1:]:
        assert torch.equal(sweep.accepted, sweep.proposals)


def test_the_proposed_site_cancels_at_temperature_one():
    """Trap 7: a = min(1, prod over s != t of phi_s(X') / phi_s(X)) at tau = tau_q = 1."""
    lm = random_table(3, 3, seed=8)
    kernel = kernel_of(lm, 500)
    tokens = torch.from_numpy(np.random.default_rng(2).integers(0, 3, (500, 3)))
    state = kernel.init(tokens)
    masked = torch.tensor([[False, True, False]]).expand(500, -1)
    uniforms = torch.from_numpy(np.random.default_rng(3).random((500, 2)))
    uniforms[:, 1] = 0.0  # accept whatever has a chance
    after, info = kernel.step(state, masked, 1.0, uniforms)
    assert info.novel.any()
    others = site_scores(after.scores, "norm") - site_scores(state.scores, "norm")
    torch.testing.assert_close(info.log_ratio, others[:, [0, 2]].sum(1), atol=1e-10, rtol=0)


def test_nan_rejects_and_is_counted():
    table = LM.table.clone()
    table[0, 1] = torch.nan
    kernel = kernel_of(TableLM(table), 50)
    streams = [chain_stream(1, 0, 3, chain) for chain in range(50)]
    finished = run(kernel, torch.zeros(50, 3, dtype=torch.long), streams, Schedule(2))
    assert torch.equal(finished.sweeps[-1].end.tokens[:, 1], torch.zeros(50, dtype=torch.long))
    assert all((sweep.broken >= 1).all() for sweep in finished.sweeps[1:])
    assert total(finished.lowest.scores, "norm").isnan().all()


@pytest.mark.parametrize("metropolis", [True, False])
def test_cached_energy_is_the_recomputed_one_and_rows_are_what_was_asked(metropolis):
    """At the end of every sweep; unchanged candidates and current states cost the model nothing."""
    lm = random_table(3, 3, seed=9)
    kernel = kernel_of(lm, 200, metropolis=metropolis)
    streams = [chain_stream(3, 0, 3, chain) for chain in range(200)]
    finished = run(kernel, torch.zeros(200, 3, dtype=torch.long), streams, Schedule(6, burn_in=2))
    assert sum(int(sweep.rows.sum()) for sweep in finished.sweeps) == lm.rows_asked
    for snapshot in (finished.lowest, *(sweep.end for sweep in finished.sweeps)):
        torch.testing.assert_close(snapshot.scores, kernel.init(snapshot.tokens).scores, atol=1e-12, rtol=0)
    ends = torch.stack([total(sweep.end.scores, "norm") for sweep in finished.sweeps[2:]])
    assert (total(finished.lowest.scores, "norm") <= ends.min(0).values + 1e-12).all()
    assert (finished.lowest.sweep >= 2).all()
