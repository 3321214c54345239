"""Properties for any model, settings and move: exact ratios, states of the state space, and right counts.

hypothesis chooses the cases, the same ones in every run. Nothing here is statistical, so no right kernel ever fails.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_mh.mcmc.energy import ENERGIES
from fairseq_mh.mcmc.moves.informed import FLOOR, Informed
from fairseq_mh.mcmc.moves.masked import SCANS, MaskedConditional
from fairseq_mh.mcmc.schedule import Schedule
from tests.mcmc.harness import kernel_of, run_from, step, target_of
from tests.mcmc.tables import SUMS, Reference, TableLM, random_table
from tests.mcmc.test_target import MeanForSum, NoChoiceInRatio, NoHastings

TARGETS = (*ENERGIES, "one-pass", *SUMS)
thorough = settings(max_examples=300, deadline=None, derandomize=True, print_blob=True)

TABLES = st.builds(
    random_table,
    symbols=st.integers(2, 3),
    length=st.integers(1, 4),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.0, 0.1, 1.0, 6.0]),
)
TEMPERATURES = st.sampled_from([0.05, 0.3, 1.0, 5.0])
WIDTHS = st.sampled_from([0.3, 1.0, 5.0])  # for smaller ones, the reference's probabilities are rounded to 0
Q = st.fixed_dictionaries({"temperature": WIDTHS}) | st.fixed_dictionaries(
    {"temperature": WIDTHS, "mix": st.sampled_from([0.01, 0.5]), "nucleus": st.sampled_from([0.3, 0.9])}
)


def check_detailed_balance(lm, energy, temperature, q, move, sites, seed):
    """Check pi(x) q(x'|x) a(x -> x') = pi(x') q(x|x') a(x' -> x), in logs, for all candidates that were drawn."""
    reference = Reference(lm, energy, temperature, q)
    states = torch.tensor(reference.states).repeat_interleave(8, 0)
    masked = torch.zeros_like(states, dtype=torch.bool)
    masked[:, list(sites)] = True
    kernel = kernel_of(lm, target_of(energy, lm), move=move, **q)
    generator = torch.Generator().manual_seed(seed)
    uniforms = torch.rand(len(states), 2 * reference.length + 1, generator=generator, dtype=torch.float64)
    uniforms[:, -1] = 0  # below every ratio: all of each candidate is evaluated
    state = kernel.init(states, torch.zeros(len(states), dtype=torch.long))[0]
    _, info = step(kernel, state, masked, temperature, uniforms)
    for start, end, log_ratio in zip(states.tolist(), info.candidate.tolist(), info.log_ratio.tolist(), strict=True):
        assert set(end) <= set(range(lm.symbols))
        drawn = [site for site in range(len(start)) if start[site] != end[site]]
        if not drawn:
            continue
        chosen = drawn if issubclass(move, Informed) else sites  # an informed move has one site, the changed one
        forward, reverse = between(reference, tuple(start), tuple(end), chosen)
        rise = reference.energy(tuple(end), energy) - reference.energy(tuple(start), energy)
        if issubclass(move, Informed):
            forward += math.log(reference.choice(tuple(start), chosen, FLOOR))
            reverse += math.log(reference.choice(tuple(end), chosen, FLOOR))
        assert log_ratio == pytest.approx(reverse - forward - rise / temperature, rel=1e-9, abs=1e-7)


def between(reference, start, end, sites) -> tuple[float, float]:
    """Return log q of redrawing these sites, forward and reverse."""
    by_site = {site: reference.conditional(start, site, set(sites)) for site in sites}
    there, back = (sum(math.log(by_site[site][state[site]]) for site in sites) for state in (end, start))
    return there, back


@st.composite
def moves(draw):
    """Draw a table, settings, and the sites of a move; an informed move has one site."""
    lm = draw(TABLES)
    length, move = lm.table.size(1), draw(st.sampled_from([MaskedConditional, Informed]))
    sites = draw(st.sets(st.integers(0, length - 1), min_size=1)) if move is MaskedConditional else {0}
    if move is Informed and length == 1:
        move = MaskedConditional
    energy, temperature, q = draw(st.sampled_from(TARGETS)), draw(TEMPERATURES), draw(Q)
    return lm, energy, temperature, q, move, sorted(sites), draw(st.integers(0, 1000))


@thorough
@given(moves())
def test_any_move_is_in_detailed_balance(move):
    check_detailed_balance(*move)


LM = random_table(3, 3, seed=5)


CONTROLS = {"no Hastings term": (NoHastings, [1]), "mean for sum": (MeanForSum, [0, 2])}
CONTROLS["informed, choice not in the ratio"] = NoChoiceInRatio, [0]


@pytest.mark.parametrize("name", CONTROLS)
def test_wrong_moves_are_not_in_detailed_balance(name):
    broken, sites = CONTROLS[name]
    with pytest.raises(AssertionError):
        check_detailed_balance(LM, "norm", 0.7, {"temperature": 1.3}, broken, sites, 1)


@st.composite
def runs(draw):
    """Draw a table, settings and a schedule of chains."""
    scan = draw(st.sampled_from([*SCANS, "informed"]))
    moves = (Informed, None) if scan == "informed" else (MaskedConditional, {"scan_name": scan})
    sweeps = draw(st.integers(0, 4))
    schedule = {
        "sweeps": sweeps,
        "burn_in": draw(st.integers(0, sweeps)),
        "temperature": draw(TEMPERATURES),
        "final_temperature": draw(TEMPERATURES),
        "block_size": draw(st.integers(0, 5)),
        "final_block_size": draw(st.integers(0, 5)),
    }
    return draw(TABLES), draw(st.sampled_from(TARGETS)), draw(Q), moves, schedule, draw(st.integers(0, 1000))


@thorough
@given(runs(), st.sampled_from([None, math.nan, math.inf, -math.inf]))
def test_any_chain_stays_in_the_state_space_and_counts_right(chosen, broken):
    """This also holds for a broken model, which has some logits that are NaN or infinite."""
    lm, energy, q, (move, scan), schedule, seed = chosen
    if broken is not None:
        lm = TableLM(lm.table.clone())
        lm.table[:, ::2, ::3, 0] = broken
    kernel = kernel_of(lm, target_of(energy, lm), move=move, scan=scan, **q)
    start = torch.randint(lm.symbols, (5, lm.table.size(1)), generator=torch.Generator().manual_seed(seed))
    finished = run_from(kernel, start, Schedule(**schedule), seed)
    for number, sweep in enumerate(finished.sweeps):
        assert ((sweep.end.tokens >= 0) & (sweep.end.tokens < lm.symbols)).all()
        assert (sweep.novel <= sweep.accepted).all()
        assert (sweep.accepted + sweep.broken <= sweep.proposals).all()
        assert (sweep.proposals >= (number > 0)).all()
        if broken is None:
            assert kernel.energy.total(sweep.end.scores).isfinite().all()
            assert not sweep.broken.any()
    assert ((finished.lowest.tokens >= 0) & (finished.lowest.tokens < lm.symbols)).all()
    if broken is None:
        ends = torch.stack([kernel.energy.total(sweep.end.scores) for sweep in finished.sweeps[schedule["burn_in"] :]])
        assert (kernel.energy.total(finished.lowest.scores) <= ends.min(0).values + 1e-9).all()
