"""Chains keep features, count rows and proposals, and stay the same when rows are saved."""

import itertools

import numpy as np
import pytest
import torch

from fairseq_mh.mcmc.chain import EndedSweep, chain_stream, finish, run
from fairseq_mh.mcmc.clocks import Clocks
from fairseq_mh.mcmc.energy import ENERGIES, Energy, Term, sum_of
from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.mcmc.moves.informed import Informed
from fairseq_mh.mcmc.moves.masked import MaskedConditional
from fairseq_mh.mcmc.record import Sweep
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.mcmc.state import unevaluated
from fairseq_mh.translation.chains.mask_predict import mask_predict
from tests.mcmc.harness import LM, SCHEDULES, Q, at, column, kernel_of, run_from, step
from tests.mcmc.tables import TableEnergy, TableLM, joint_table, random_table


def test_exact_conditionals_are_always_accepted():
    """If E = -log p of a joint p, the move is Gibbs sampling; with one position, E_norm is that energy."""
    lm = joint_table(np.random.default_rng(0).dirichlet(np.ones(4)))
    kernel = kernel_of(lm)
    finished = run_from(kernel, torch.zeros(1000, 1, dtype=torch.long), Schedule(5))
    for sweep in finished.sweeps[1:]:
        assert torch.equal(sweep.accepted, sweep.proposals)


def test_the_proposed_site_cancels_at_temperature_one():
    """If tau = tau_q = 1, then a = min(1, prod over s != t of phi_s(X') / phi_s(X))."""
    lm = random_table(3, 3, seed=8)
    kernel = kernel_of(lm)
    tokens = torch.from_numpy(np.random.default_rng(2).integers(0, 3, (500, 3)))
    state = at(kernel, tokens)
    masked = torch.tensor([[False, True, False]]).expand(500, -1)
    uniforms = torch.from_numpy(np.random.default_rng(3).random((500, 2)))
    uniforms[:, 1] = 0.0  # accept every candidate of positive probability
    after, info = step(kernel, state, masked, 1.0, uniforms)
    assert info.novel.any()
    others = column(after, kernel, "norm") - column(state, kernel, "norm")
    torch.testing.assert_close(info.log_ratio, others[:, [0, 2]].sum(1), atol=1e-10, rtol=0)


def test_nan_rejects_and_is_counted():
    table = LM.table.clone()
    table[0, 1] = torch.nan
    kernel = kernel_of(TableLM(table))
    finished = run_from(kernel, torch.zeros(50, 3, dtype=torch.long), Schedule(2))
    assert torch.equal(finished.sweeps[-1].end.tokens[:, 1], torch.zeros(50, dtype=torch.long))
    assert all((sweep.broken >= 1).all() for sweep in finished.sweeps[1:])
    assert kernel.energy.total(finished.lowest.scores).isnan().all()


@pytest.mark.parametrize("metropolis", [True, False])
def test_cached_energies_equal_recomputed_ones_and_rows_are_counted(metropolis):
    """Energies are compared at the end of every sweep. Unchanged candidates and current states take no rows."""
    lm = random_table(3, 3, seed=9)
    kernel = kernel_of(lm, metropolis=metropolis)
    finished = run_from(kernel, torch.zeros(200, 3, dtype=torch.long), Schedule(6, burn_in=2), seed=3)
    assert sum(int(sweep.cost.rows.sum()) for sweep in finished.sweeps) == lm.rows_asked
    for snapshot in (finished.lowest, *(sweep.end for sweep in finished.sweeps)):
        torch.testing.assert_close(snapshot.scores, at(kernel, snapshot.tokens).scores, atol=1e-12, rtol=0)
    ends = torch.stack([kernel.energy.total(sweep.end.scores) for sweep in finished.sweeps[2:]])
    assert (kernel.energy.total(finished.lowest.scores) <= ends.min(0).values + 1e-12).all()
    assert (finished.lowest.sweep >= 2).all()


@pytest.mark.parametrize("energy", ENERGIES)
def test_a_certain_rejection_saves_rows_and_changes_nothing(energy, monkeypatch):
    """The chain equals, token for token, the chain that evaluates every candidate to the end."""
    lm = random_table(2, 7, seed=9, scale=3.0)
    states = torch.tensor(list(itertools.product(range(2), repeat=7)))
    kernel = kernel_of(lm, energy)
    bounded = kernel.energy.masked_bound > 0
    assert (column(at(kernel, states), kernel, energy) <= 0).all() == bounded
    ends, spent = [], []
    for _ in range(2):
        start = torch.zeros(50, 7, dtype=torch.long)
        sweeps = run_from(kernel, start, Schedule(4, temperature=0.5), seed=3).sweeps
        ends.append(torch.stack([sweep.end.tokens for sweep in sweeps]))
        spent.append(sum(int(sweep.cost.rows.sum()) for sweep in sweeps))
        monkeypatch.setattr(Energy, "masked_bound", 0.0)
    assert torch.equal(*ends)
    assert spent[0] < spent[1] if bounded else spent[0] == spent[1]


BROKEN = TableLM(LM.table.clone())
BROKEN.table[0, 1, :20] = torch.nan  # at the second position, if the others hold some symbols


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("metropolis", [True, False])
@pytest.mark.parametrize("lm", [LM, BROKEN], ids=["", "NaN"])
def test_a_chain_does_not_depend_on_the_others(schedule, metropolis, lm, monkeypatch):
    """Each chain equals, in tokens and rows, a chain in a batch of its own that proposes one update at a time."""
    move, scan, blocks = schedule
    if move is Informed and not metropolis:
        move, scan = MaskedConditional, {"scan_name": "sequential"}
    kernel = kernel_of(lm, metropolis=metropolis, move=move, scan=scan, **Q)
    start, streams = torch.zeros(20, 3, dtype=torch.long), [chain_stream(1, 0, 3, chain) for chain in range(20)]
    schedule = Schedule(6, burn_in=2, temperature=0.5, **blocks)
    together = finish(run(kernel, start, torch.zeros(20, dtype=torch.long), streams, schedule))
    monkeypatch.setattr("fairseq_mh.mcmc.chain.AHEAD", 1)
    for chain in range(20):
        stream = chain_stream(1, 0, 3, chain)
        alone = finish(run(kernel, start[:1], torch.zeros(1, dtype=torch.long), [stream], schedule))
        assert torch.equal(alone.lowest.tokens[0], together.lowest.tokens[chain])
        assert alone.lowest.sweep[0] == together.lowest.sweep[chain]
        for one, other in zip(alone.sweeps, together.sweeps, strict=True):
            assert torch.equal(one.end.tokens[0], other.end.tokens[chain])
            assert one.temperature == other.temperature
            assert all(a[0] == b[chain] for a, b in zip(counts(one), counts(other), strict=True))


def counts(sweep: Sweep) -> list[torch.Tensor]:
    """Return the counts of a sweep, (N,) long each."""
    return [*sweep[2:-1], *sweep.cost]


class Forgetful(Kernel):
    """A kernel that asks the model again for the features that a state's proposals have learned."""

    def begin(self, state, *rest):
        return super().begin(state._replace(known=torch.zeros_like(state.known)), *rest)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_features_kept_in_a_state_save_rows_and_change_nothing(schedule):
    """Proposals store features in the state if the energy is from one pass; they are dropped when it changes."""
    move, scan, blocks = schedule
    kernel = kernel_of(LM, TableEnergy(LM, seed=6), move=move, scan=scan, **Q)
    start, schedule = torch.zeros(100, 3, dtype=torch.long), Schedule(6, temperature=0.5, **blocks)
    kernels = kernel, Forgetful(**vars(kernel))
    runs = [run_from(one, start, schedule, seed=3).sweeps for one in kernels]
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one.end.tokens, other.end.tokens)
        assert torch.equal(one.novel, other.novel)
    rows = [sum(int(sweep.cost.rows.sum()) for sweep in run) for run in runs]
    proposals = sum(int(sweep.proposals.sum()) for sweep in runs[0])
    assert rows[0] < rows[1] <= 2 * proposals + len(start)
    assert not any(sweep.broken.any() for run in runs for sweep in run)


def test_blocks_of_one_position_are_the_single_site_move():
    """Both give the same tokens from the same streams; larger blocks give another chain."""
    kernel = kernel_of(LM)
    runs = []
    for schedule in (Schedule(4), Schedule(4, block_size=1, final_block_size=1), Schedule(4, final_block_size=0)):
        finished = run_from(kernel, torch.zeros(50, 3, dtype=torch.long), schedule)
        runs.append([sweep.end.tokens for sweep in finished.sweeps])
    assert all(map(torch.equal, runs[0], runs[1]))
    assert not all(map(torch.equal, runs[0], runs[2]))


def test_block_sizes_fall_linearly_to_one():
    schedule = Schedule(4, block_size=0, final_block_size=1)
    assert [schedule.block_size_at(sweep, 7) for sweep in range(1, 5)] == [7, 5, 3, 1]
    assert [schedule.block_size_at(sweep, 2) for sweep in range(1, 5)] == [2, 2, 1, 1]
    clocks = Clocks(schedule, MaskedConditional(), torch.zeros(1, 7).long(), [chain_stream(1, 0, 7, 0)])
    clocks.advance(np.array([0]), np.array([1]))  # the first sweep
    masked, _, uniforms, _ = clocks.next(np.array([0]), 2)
    masked = masked[0]
    assert (masked.sum(0) == 1).all()
    assert masked.sum(1).tolist() == [5, 2]
    assert (uniforms[0] != 0).sum(1).tolist() == [6, 6]  # five for the larger block, one for the acceptance


def test_mask_predict_is_block_gibbs_without_temperature():
    """Degenerate block Gibbs with mask-predict's positions and tau_q near 0 fills in the same symbols."""
    lm = random_table(4, 4, seed=11)
    context = torch.zeros(1, dtype=torch.long)
    filled = mask_predict(lm, torch.zeros(1, 4, dtype=torch.long), context, 4)
    kernel = kernel_of(lm, metropolis=False, temperature=1e-6)
    tokens, _ = filled.history[0]
    state, steps = unevaluated(lm, tokens, context), 0
    for _, masked in [filled.history[0], *filled.history[2::2]]:
        state, _ = step(kernel, state, masked, 1.0, torch.full((1, 5), 0.5, dtype=torch.float64))
        assert torch.equal(state.tokens, filled.history[2 * steps + 1][0])
        steps += 1
    assert torch.equal(state.tokens, filled.tokens)
    assert steps == 4


@pytest.mark.parametrize("metropolis", [True, False])
def test_ended_sweeps_are_those_of_the_run(metropolis):
    """Every sweep of every chain is yielded when it ends, the start first, and equals the sweep in the run."""
    start, context = torch.zeros(5, 3, dtype=torch.long), torch.zeros(5, dtype=torch.long)
    streams = [chain_stream(1, 0, 3, chain) for chain in range(5)]
    seen: dict[tuple[int, int], Sweep] = {}

    def watched():
        running = run(kernel_of(LM, metropolis=metropolis), start, context, streams, Schedule(3))
        while True:
            try:
                ended: EndedSweep = next(running)
            except StopIteration as end:
                return end.value
            seen[ended.chain, ended.number] = ended.read()

    finished = watched()
    assert list(seen)[:5] == [(chain, 0) for chain in range(5)]
    assert sorted(seen) == list(itertools.product(range(5), range(4)))
    for (chain, number), sweep in seen.items():
        kept = finished.sweeps[number]
        for one, other in zip((*sweep.end, *counts(sweep)), (*kept.end, *counts(kept)), strict=True):
            torch.testing.assert_close(one[0], other[chain], equal_nan=True, atol=0, rtol=0)
        assert sweep.temperature == kept.temperature


def test_terms_without_weight_are_evaluated_at_the_end_of_sweeps_and_change_nothing():
    """A term of weight 0 does not change the chain, and its reported energies are those of the states."""
    table, start = TableEnergy(LM, seed=6), torch.zeros(50, 3, dtype=torch.long)
    for weighted, reported in (("norm", Term("table", table, weight=0.0)), ("table", Term("norm", weight=0.0))):
        target = Term("norm") if weighted == "norm" else Term("table", table)
        plain, both = kernel_of(LM, sum_of([target]), **Q), kernel_of(LM, sum_of([target, reported]), **Q)
        runs = [run_from(kernel, start, Schedule(4), seed=3) for kernel in (plain, both)]
        for one, other in zip(*(one.sweeps for one in runs), strict=True):
            assert torch.equal(one.end.tokens, other.end.tokens)
            found = column(other.end, both, reported.name)
            torch.testing.assert_close(found, column(at(both, other.end.tokens), both, reported.name))
        rows = [sum(int(sweep.cost.rows.sum()) for sweep in one.sweeps) for one in runs]
        assert rows[0] < rows[1]


@pytest.mark.parametrize("metropolis", [True, False])
def test_a_term_without_weight_is_evaluated_again_only_if_the_state_changed(metropolis):
    """Its rows are those of the sweeps that changed the state, and its energies are those of all states."""
    table, start, schedule = TableEnergy(LM, seed=6), torch.zeros(200, 3, dtype=torch.long), Schedule(4)
    kernels = [
        kernel_of(LM, sum_of(terms), metropolis, **Q)
        for terms in ([Term("norm")], [Term("norm"), Term("table", table, weight=0.0)])
    ]
    plain, both = (run_from(kernel, start, schedule, seed=3).sweeps for kernel in kernels)
    once = table(LM, start[:1], start[:1, 0])[1]
    unchanged = 0
    for number, (one, other) in enumerate(zip(plain, both, strict=True)):
        assert torch.equal(one.end.tokens, other.end.tokens)
        changed = other.novel.gt(0) if number else torch.ones_like(other.novel, dtype=torch.bool)
        assert torch.equal(other.cost.rows - one.cost.rows, changed * once)
        unchanged += int((~changed).sum())
        found = column(other.end, kernels[1], "table")
        torch.testing.assert_close(found, column(at(kernels[1], other.end.tokens), kernels[1], "table"))
    assert unchanged > 0
