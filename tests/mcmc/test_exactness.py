"""Every kernel against enumeration.

The chi-square tests have fixed seeds and reject at p < 1e-6, so each would fail one right
kernel in a million seeds; the negative controls show that the same test catches wrong ones.
"""

import itertools
from functools import partial

import numpy as np
import pytest
import scipy.stats
import torch
from tables import Reference, TableLM, inconsistent_table, joint_table, random_table

from fairseq_mh.mask_predict import mask_predict
from fairseq_mh.mcmc.chain import chain_stream, run
from fairseq_mh.mcmc.energy import BOUNDED, ENERGIES, site_scores, total
from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.mcmc.masked_lm import state_logits
from fairseq_mh.mcmc.proposal import FLOOR, NOWHERE, conditional, informed, masked_conditional
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.mcmc.state import unknown
from fairseq_mh.mcmc.surrogate import BlockPseudoLikelihood

FALSE_ALARM = 1e-6
TABLES = {
    "V2T2": random_table(2, 2, seed=1),
    "V3T3": random_table(3, 3, seed=2),
    "V4T2": random_table(4, 2, seed=3),
    "V2T4": random_table(2, 4, seed=4),
    "section 2.1": inconsistent_table(),
}
SETTINGS = pytest.mark.parametrize(
    ("name", "energy", "temperature", "q"),
    [
        (name, energy, temperature, q)
        for name in TABLES
        for energy in ENERGIES
        for temperature, q in (
            (1.0, {"temperature": 1.0}),
            (0.5, {"temperature": 1.0}),
            (2.0, {"temperature": 0.7}),
            (1.0, {"temperature": 1.3, "nucleus": 0.7, "mix": 0.2}),
            (1.0, {"temperature": 1.0, "top_k": 2, "mix": 0.1}),
        )
    ],
)


def kernel_of(lm, energy="norm", metropolis=True, propose=masked_conditional, surrogate=None, **q):
    propose = partial(propose, log_q=partial(conditional, **q))
    return Kernel(lm, energy, propose, metropolis, surrogate)


def at(kernel, tokens):
    """The evaluated state of these tokens, all in context 0."""
    return kernel.init(tokens, torch.zeros(len(tokens), dtype=torch.long))[0]


def step(kernel, state, masked, temperature, uniforms):
    """One update of every chain, to its decision."""
    temperature = torch.full((len(masked),), temperature, dtype=torch.float64)
    trial = kernel.begin(state, masked[:, None], uniforms[:, None], temperature)
    while trial.asked.any():
        trial = kernel.advance(trial)
    return kernel.settle(trial)


def run_from(kernel, tokens, schedule, seed=1):
    """A chain from each of these states (N, T), all in context 0."""
    streams = [chain_stream(seed, 0, tokens.size(1), chain) for chain in range(len(tokens))]
    return run(kernel, tokens, torch.zeros(len(tokens), dtype=torch.long), streams, schedule)


def p_value(counts: np.ndarray, expected: np.ndarray) -> float:
    """Chi-square of counts against probabilities; the rarest cells are put together until 5 are expected."""
    expected = expected * counts.sum()
    if counts[expected == 0].any():
        return 0.0
    order = np.argsort(expected)
    rare = min(int((np.cumsum(expected[order]) < 5).sum()) + 1, len(order))
    pooled = [np.append(cells[order][rare:], cells[order][:rare].sum()) for cells in (counts, expected)]
    return scipy.stats.chi2.sf(((pooled[0] - pooled[1]) ** 2 / pooled[1]).sum(), max(len(pooled[0]) - 1, 1))


def moves_of(reference) -> dict:
    """All single sites, a pair and the whole: positions -> P(x -> x')."""
    sites = [(site,) for site in range(reference.length)]
    return {move: reference.transition(move) for move in (*sites, (0, reference.length - 1), tuple(range(len(sites))))}


@SETTINGS
def test_reference_is_exact(name, energy, temperature, q):
    """The enumerated Metropolis-Hastings satisfies detailed balance, keeps the target and reaches every state."""
    reference = Reference(TABLES[name], energy, temperature, q)
    informed_updates = [reference.informed_update(block, FLOOR) for block in range(1, reference.length + 1)]
    for matrix in (*moves_of(reference).values(), *informed_updates):
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-10)
        flow = reference.target[:, None] * matrix
        np.testing.assert_allclose(flow, flow.T, atol=1e-10)
        np.testing.assert_allclose(flow.sum(0), reference.target, atol=1e-10)
    assert (np.linalg.matrix_power(reference.sweep(), 50) > 0).all()
    assert (np.linalg.matrix_power(informed_updates[0], 50) > 0).all()


@SETTINGS
def test_kernel_matches_the_enumerated_transitions(name, energy, temperature, q):
    """From every state, by every move: the ratio to 1e-10, and the frequencies within sampling error."""
    lm, copies = TABLES[name], 1000
    reference = Reference(lm, energy, temperature, q)
    states = torch.tensor(reference.states).repeat_interleave(copies, 0)
    kernel = kernel_of(lm, energy, **q)
    for sites, expected in moves_of(reference).items():
        masked = torch.zeros_like(states, dtype=torch.bool)
        masked[:, list(sites)] = True
        info = one_step(reference, kernel, states, masked, temperature, expected)
        check_ratios(reference, lm, info, states, sites, expected)


@SETTINGS
def test_informed_updates_match_the_enumerated_transitions(name, energy, temperature, q):
    """The sites are chosen by a look at the tokens: their probability is in the ratio both ways."""
    lm, copies = TABLES[name], 1000
    reference = Reference(lm, energy, temperature, q)
    states = torch.tensor(reference.states).repeat_interleave(copies, 0)
    kernel = kernel_of(lm, energy, propose=informed, **q)
    for block in {1, 2, reference.length}:
        masked = torch.arange(reference.length).expand(len(states), -1) < block
        info = one_step(reference, kernel, states, masked, temperature, reference.informed_update(block, FLOOR))
        if block == 1:  # of more sites, the candidate alone does not say in which order they were chosen
            for site in range(reference.length):
                part = reference.informed((site,), FLOOR)
                check_ratios(reference, lm, info, states, (site,), part, informed=True)


@SETTINGS
@pytest.mark.parametrize("passes", [1, 2])
def test_delayed_acceptance_matches_the_enumerated_transitions(name, energy, temperature, q, passes):
    """Two stages, the first by a surrogate that is no function of the energy; the product keeps the target."""
    lm, copies = TABLES[name], 1000
    reference = Reference(lm, energy, temperature, q)
    states = torch.tensor(reference.states).repeat_interleave(copies, 0)
    kernel = kernel_of(lm, energy, surrogate=BlockPseudoLikelihood(passes), **q)
    for sites in moves_of(reference):
        expected = reference.delayed(sites, passes, temperature)
        flow = reference.target[:, None] * expected
        np.testing.assert_allclose(flow, flow.T, atol=1e-10)
        masked = torch.zeros_like(states, dtype=torch.bool)
        masked[:, list(sites)] = True
        one_step(reference, kernel, states, masked, temperature, expected)


def test_with_a_pass_for_each_position_the_surrogate_is_the_energy():
    lm = TABLES["V2T4"]
    states = torch.tensor(list(itertools.product(range(2), repeat=4)))
    kernel = kernel_of(lm, surrogate=BlockPseudoLikelihood(4))
    state, rows = kernel.init(states, torch.zeros(len(states), dtype=torch.long))
    torch.testing.assert_close(state.surrogate, total(state.scores, "norm"), atol=1e-12, rtol=0)
    assert (rows == 4 + 4).all()


def one_step(reference, kernel, states, masked, temperature, expected):
    """Step once from all states; the frequencies of where each ends against the enumerated row."""
    uniforms = torch.from_numpy(np.random.default_rng(5).random((len(states), 2 * reference.length + kernel.decisions)))
    state, log_u = at(kernel, states), uniforms[:, -1].log()
    after, info = step(kernel, state, masked, temperature, uniforms)
    counts = np.zeros(expected.shape)
    np.add.at(counts, (number_of(states, kernel.lm), number_of(after.tokens, kernel.lm)), 1)
    lowest = min(p_value(*rows) for rows in zip(counts, expected, strict=True))
    assert lowest > FALSE_ALARM / len(counts)
    uniforms[:, -1] = 0  # below every ratio: all of each candidate is evaluated
    _, whole = step(kernel, state, masked, temperature, uniforms)
    assert torch.equal(info.accepted, log_u < whole.log_ratio)  # an early rejection is a right one
    assert (info.rows <= whole.rows).all()
    return whole


def check_ratios(reference, lm, info, states, sites, expected, informed=False):
    """q min(1, ratio) of every candidate that came up is the enumerated transition probability."""
    differ = info.candidate != states
    differ[:, list(sites)] = False
    mine = (~differ.any(1) & (info.candidate != states).any(1)).nonzero()[:, 0]
    numbers = zip(number_of(states[mine], lm).tolist(), number_of(info.candidate[mine], lm).tolist(), strict=True)
    pairs = dict(zip(numbers, mine.tolist(), strict=True))
    for (i, j), n in pairs.items():
        state, candidate = reference.states[i], reference.states[j]
        forward = {new: there for new, there, _ in reference.proposals(state, sites)}[candidate]
        forward *= reference.choice(state, sites, FLOOR) if informed else 1.0
        assert forward * min(1.0, info.log_ratio[n].exp().item()) == pytest.approx(expected[i, j], abs=1e-10)


def number_of(tokens, lm):
    places = lm.symbols ** torch.arange(tokens.size(1) - 1, -1, -1)
    return (tokens * places).sum(1)


# --- whole chains -------------------------------------------------------------------------------

COPIES, SWEEPS, TEMPERATURE, Q = 5000, 40, 1.0, {"temperature": 1.6}
LM = random_table(3, 3, seed=5, scale=1.0)
SCHEDULES = {
    "single": {},
    "sequential": {"scan": "sequential"},
    "pairs": {"block_size": 2, "final_block_size": 2},
    "whole to single": {"block_size": 0, "final_block_size": 1},
    "informed": {"scan": "informed"},
    "informed pairs": {"scan": "informed", "block_size": 2, "final_block_size": 2},
    "informed whole to single": {"scan": "informed", "block_size": 0, "final_block_size": 1},
}


def long_run_p_value(kernel, lm=LM, energy="norm", **schedule) -> float:
    """Independent chains from one state, the least likely one; where they end must follow the target.

    The slowest of these chains, informed with E_raw, is within 2e-3 of it then (total variation, enumerated).
    """
    reference = Reference(lm, energy, TEMPERATURE, Q)
    worst = torch.tensor(reference.states[int(reference.target.argmin())])
    finished = run_from(kernel, worst.repeat(COPIES, 1), Schedule(SWEEPS, **schedule), seed=7)
    counts = np.bincount(number_of(finished.sweeps[-1].end.tokens, lm), minlength=len(reference.states))
    return p_value(counts, reference.target)


def propose_of(schedule):
    return informed if schedule.get("scan") == "informed" else masked_conditional


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("energy", ENERGIES)
def test_chain_has_the_target_distribution(schedule, energy):
    kernel = kernel_of(LM, energy, propose=propose_of(schedule), **Q)
    assert long_run_p_value(kernel, energy=energy, **schedule) > FALSE_ALARM


@pytest.mark.parametrize("schedule", ["single", "pairs", "informed"])
@pytest.mark.parametrize("energy", ENERGIES)
def test_delayed_acceptance_has_the_target_distribution(schedule, energy):
    schedule = SCHEDULES[schedule]
    kernel = kernel_of(LM, energy, propose=propose_of(schedule), surrogate=BlockPseudoLikelihood(2), **Q)
    assert long_run_p_value(kernel, energy=energy, **schedule) > FALSE_ALARM


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


def no_way_back(*args, log_q):
    """An informed choice of the sites whose probability is left out of the ratio."""
    proposed = informed(*args, log_q=log_q)
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


def test_degenerate_gibbs_fails():
    kernel = kernel_of(LM, metropolis=False, **Q)
    assert long_run_p_value(kernel) < FALSE_ALARM


def test_exact_conditionals_are_always_accepted():
    """Trap 7: with E = -log p of a joint p, the move is Gibbs. With one position, E_norm is that energy."""
    lm = joint_table(np.random.default_rng(0).dirichlet(np.ones(4)))
    kernel = kernel_of(lm)
    finished = run_from(kernel, torch.zeros(1000, 1, dtype=torch.long), Schedule(5))
    for sweep in finished.sweeps[1:]:
        assert torch.equal(sweep.accepted, sweep.proposals)


def test_the_proposed_site_cancels_at_temperature_one():
    """Trap 7: a = min(1, prod over s != t of phi_s(X') / phi_s(X)) at tau = tau_q = 1."""
    lm = random_table(3, 3, seed=8)
    kernel = kernel_of(lm)
    tokens = torch.from_numpy(np.random.default_rng(2).integers(0, 3, (500, 3)))
    state = at(kernel, tokens)
    masked = torch.tensor([[False, True, False]]).expand(500, -1)
    uniforms = torch.from_numpy(np.random.default_rng(3).random((500, 2)))
    uniforms[:, 1] = 0.0  # accept whatever has a chance
    after, info = step(kernel, state, masked, 1.0, uniforms)
    assert info.novel.any()
    others = site_scores(after.scores, "norm") - site_scores(state.scores, "norm")
    torch.testing.assert_close(info.log_ratio, others[:, [0, 2]].sum(1), atol=1e-10, rtol=0)


def test_nan_rejects_and_is_counted():
    table = LM.table.clone()
    table[0, 1] = torch.nan
    kernel = kernel_of(TableLM(table))
    finished = run_from(kernel, torch.zeros(50, 3, dtype=torch.long), Schedule(2))
    assert torch.equal(finished.sweeps[-1].end.tokens[:, 1], torch.zeros(50, dtype=torch.long))
    assert all((sweep.broken >= 1).all() for sweep in finished.sweeps[1:])
    assert total(finished.lowest.scores, "norm").isnan().all()


@pytest.mark.parametrize("metropolis", [True, False])
def test_cached_energy_is_the_recomputed_one_and_rows_are_what_was_asked(metropolis):
    """At the end of every sweep; unchanged candidates and current states cost the model nothing."""
    lm = random_table(3, 3, seed=9)
    kernel = kernel_of(lm, metropolis=metropolis)
    finished = run_from(kernel, torch.zeros(200, 3, dtype=torch.long), Schedule(6, burn_in=2), seed=3)
    assert sum(int(sweep.rows.sum()) for sweep in finished.sweeps) == lm.rows_asked
    for snapshot in (finished.lowest, *(sweep.end for sweep in finished.sweeps)):
        torch.testing.assert_close(snapshot.scores, at(kernel, snapshot.tokens).scores, atol=1e-12, rtol=0)
    ends = torch.stack([total(sweep.end.scores, "norm") for sweep in finished.sweeps[2:]])
    assert (total(finished.lowest.scores, "norm") <= ends.min(0).values + 1e-12).all()
    assert (finished.lowest.sweep >= 2).all()


@pytest.mark.parametrize("energy", ENERGIES)
def test_a_certain_rejection_saves_rows_and_changes_nothing(energy, monkeypatch):
    """Token for token the chain that evaluates every candidate to the end."""
    lm = random_table(2, 7, seed=9, scale=3.0)
    states = torch.tensor(list(itertools.product(range(2), repeat=7)))
    shares = site_scores(at(kernel_of(lm), states).scores, energy)
    assert (shares <= 0).all() == (energy in BOUNDED)
    ends, spent = [], []
    for bounded in (BOUNDED, set()):
        monkeypatch.setattr("fairseq_mh.mcmc.kernel.BOUNDED", bounded)
        start = torch.zeros(50, 7, dtype=torch.long)
        sweeps = run_from(kernel_of(lm, energy), start, Schedule(4, temperature=0.5), seed=3).sweeps
        ends.append(torch.stack([sweep.end.tokens for sweep in sweeps]))
        spent.append(sum(int(sweep.rows.sum()) for sweep in sweeps))
    assert torch.equal(*ends)
    assert spent[0] < spent[1] if energy in BOUNDED else spent[0] == spent[1]


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("metropolis", [True, False])
def test_chains_do_not_know_of_each_other(schedule, metropolis, monkeypatch):
    """Token for token, and row for row, the chains that run alone and propose one update at a time."""
    propose = propose_of(schedule) if metropolis else masked_conditional
    kernel = kernel_of(LM, metropolis=metropolis, propose=propose, **Q)
    start, streams = torch.zeros(20, 3, dtype=torch.long), [chain_stream(1, 0, 3, chain) for chain in range(20)]
    schedule = Schedule(6, burn_in=2, temperature=0.5, **schedule)
    together = run(kernel, start, torch.zeros(20, dtype=torch.long), streams, schedule)
    monkeypatch.setattr("fairseq_mh.mcmc.chain.AHEAD", 1)
    for chain in range(20):
        stream = chain_stream(1, 0, 3, chain)
        alone = run(kernel, start[:1], torch.zeros(1, dtype=torch.long), [stream], schedule)
        assert torch.equal(alone.lowest.tokens[0], together.lowest.tokens[chain])
        assert alone.lowest.sweep[0] == together.lowest.sweep[chain]
        for one, other in zip(alone.sweeps, together.sweeps, strict=True):
            assert torch.equal(one.end.tokens[0], other.end.tokens[chain])
            assert one.temperature == other.temperature
            assert all(a[0] == b[chain] for a, b in zip(one[2:], other[2:], strict=True))  # the counts


def test_blocks_of_one_are_the_single_site_move():
    """Token for token, from the same streams; and a chain of shorter blocks beside it changes nothing."""
    kernel = kernel_of(LM)
    runs = []
    for schedule in (Schedule(4), Schedule(4, block_size=1, final_block_size=1), Schedule(4, final_block_size=0)):
        finished = run_from(kernel, torch.zeros(50, 3, dtype=torch.long), schedule)
        runs.append([sweep.end.tokens for sweep in finished.sweeps])
    assert all(map(torch.equal, runs[0], runs[1]))
    assert not all(map(torch.equal, runs[0], runs[2]))


def test_block_sizes_fall_linearly_to_one():
    schedule = Schedule(4, block_size=0, final_block_size=1)
    assert [schedule.block_at(sweep, 7) for sweep in range(1, 5)] == [7, 5, 3, 1]
    assert [schedule.block_at(sweep, 2) for sweep in range(1, 5)] == [2, 2, 1, 1]
    masked, uniforms = schedule.updates(2, 7, chain_stream(1, 0, 7, 0))
    assert (masked.sum(0) == 1).all()
    assert masked.sum(1).tolist() == [5, 2]
    assert uniforms.shape == (2, 6)


def test_mask_predict_is_block_gibbs_without_temperature():
    """With its own choice of positions, and tau_q near 0, degenerate block Gibbs fills what mask-predict fills."""
    lm = random_table(4, 4, seed=11)
    rows = torch.zeros(1, dtype=torch.long)
    filled = mask_predict(lm, torch.zeros(1, 4, dtype=torch.long), rows, passes=4)
    kernel = kernel_of(lm, metropolis=False, temperature=1e-6)
    tokens, _ = filled.history[0]
    state, steps = unknown(tokens, rows), 0
    for _, masked in [filled.history[0], *filled.history[2::2]]:
        state, _ = step(kernel, state, masked, 1.0, torch.full((1, 5), 0.5, dtype=torch.float64))
        assert torch.equal(state.tokens, filled.history[2 * steps + 1][0])
        steps += 1
    assert torch.equal(state.tokens, filled.tokens)
    assert steps == 4
