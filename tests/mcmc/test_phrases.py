"""Chains that hold phrases sample the enumerated target over sequences and places, and wrong moves are found.

The chi-square tests have fixed seeds and fail at p < 1e-6, so a right kernel fails with one seed in a million.
"""

from functools import partial

import numpy as np
import pytest
import torch

from fairseq_mh.mcmc.chain import chain_stream, finish, run
from fairseq_mh.mcmc.moves.phrases import PhraseMove
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.mcmc.state import FIRST_PHRASE, FIXED, FREE
from tests.mcmc.harness import FALSE_ALARM, SCHEDULES, Q, at, kernel_of, ordered_or_not, p_value, step, target_of
from tests.mcmc.placements import PlacedReference
from tests.mcmc.tables import random_table

pytestmark = pytest.mark.usefixtures("large_queries")

LM = random_table(3, 4, seed=5, scale=0.7)
LONGER = random_table(2, 5, seed=5, scale=0.7)  # phrases fit on both sides of a fixed position
SETS = {  # phrases, whether they are ordered, and fixed positions
    "one": ([(1, 2)], False, {}),
    "two": ([(2,), (0, 1)], False, {}),
    "two, ordered": ([(2,), (0, 1)], True, {}),
    "one twice": ([(1,), (1,)], False, {}),
    "one twice, ordered": ([(1,), (1,)], True, {}),
    "behind a prefix": ([(1, 2)], False, {0: 2}),
    "around a fixed position": ([(0, 1)], False, {2: 1}),
    "nothing free": ([(2, 1), (0, 1)], False, {}),
}


def lm_of(name):
    return LONGER if name == "around a fixed position" else LM


def reference_of(name, energy="norm"):
    phrases, ordered, fixed = SETS[name]
    return PlacedReference(lm_of(name), energy, 1.0, Q, phrases, ordered, fixed)


def held_of(reference, states) -> torch.Tensor:
    """Return `State.held` (N, T) of enumerated states."""
    number = {"free": FREE, "fixed": FIXED} | {n: FIRST_PHRASE + n for n in range(len(reference.phrases))}
    return torch.tensor([[number[label] for label in reference.labels(places)] for _, places in states])


def counts_of(reference, tokens, held) -> np.ndarray:
    """Count each enumerated state; the last cell counts all other states."""
    counts = np.zeros(len(reference.states) + 1)
    numbers = range(FIRST_PHRASE, FIRST_PHRASE + len(reference.phrases))
    for row, kinds in zip(tokens.tolist(), held.tolist(), strict=True):
        places = tuple(kinds.index(number) if number in kinds else -1 for number in numbers)
        counts[reference.number.get((tuple(row), places), -1)] += 1
    return counts


def updated(kernel, reference, ranks=(), moved=None, copies=400):
    """Update `copies` chains from every enumerated state; return the counts of the states that they reach."""
    states = [state for state in reference.states for _ in range(copies)]
    tokens, held = torch.tensor([symbols for symbols, _ in states]), held_of(reference, states)
    masked = torch.zeros(tokens.shape, dtype=torch.bool)
    free = held.eq(FREE)
    for rank in ranks:
        masked |= free & (free.cumsum(1) - 1).eq(rank)
    draws = np.random.default_rng(5).random((len(states), 2 * reference.length + 1))
    phrase = torch.full((len(states),), 0 if moved is None else FIRST_PHRASE + moved)
    after, _ = step(kernel, at(kernel, tokens, held), masked, 1.0, torch.from_numpy(draws), phrase)
    return [
        counts_of(reference, after.tokens[first : first + copies], after.held[first : first + copies])
        for first in range(0, len(states), copies)
    ]


def lowest_p_value(kernel, reference, expected, **update) -> float:
    """Return the lowest p-value among all states, multiplied by their number."""
    found = updated(kernel, reference, **update)
    rows = np.hstack([expected, np.zeros((len(expected), 1))])
    return min(p_value(*pair) for pair in zip(found, rows, strict=True)) * len(expected)


@pytest.mark.parametrize(
    ("energy", "name"),
    [("norm", name) for name in SETS]
    + [("one-pass", "two, ordered"), ("one-pass", "one"), ("raw", "two"), ("norm + one-pass", "behind a prefix")],
)
def test_the_moves_of_phrases_match_the_enumerated_transitions(name, energy):
    """Phrases move and free positions are redrawn from every state; the enumeration is in detailed balance."""
    reference = reference_of(name, energy)
    lm = lm_of(name)
    kernel = kernel_of(lm, target_of(energy, lm), phrases=ordered_or_not(SETS[name][1]), **Q)
    updates = [({"moved": n}, reference.relocation(n)) for n in range(len(reference.phrases))]
    free = reference.length - len(reference.fixed) - sum(map(len, reference.phrases))
    updates += [({"ranks": (rank,)}, reference.redrawing((rank,))) for rank in range(free)]
    for update, expected in updates:
        flow = reference.target[:, None] * expected
        np.testing.assert_allclose(flow, flow.T, atol=1e-10)
        assert lowest_p_value(kernel, reference, expected, **update) > FALSE_ALARM


class Biased(PhraseMove):
    """A wrong move, which prefers places on the left."""

    def propose(self, lm, state, update, uniforms):
        return super().propose(lm, state, update, uniforms**2)


class AnyOrder(PhraseMove):
    """A wrong move, which ignores the order."""

    def __init__(self, others, ordered):
        super().__init__(others, ordered=False)


class Splits(PhraseMove):
    """A wrong move, which may put a phrase inside another one, or split it at a fixed position."""

    def _possible(self, before, after):
        return torch.ones(len(before), dtype=torch.bool)


@pytest.mark.parametrize(
    ("wrong", "name", "moved"),
    [
        (Biased, "one", 0),
        (AnyOrder, "two, ordered", 0),
        (Splits, "two", 0),
        (Splits, "around a fixed position", 0),
    ],
)
def test_wrong_moves_are_found(wrong, name, moved):
    reference, ordered = reference_of(name), SETS[name][1]
    expected = reference.relocation(moved)
    for move, found in ((PhraseMove, False), (wrong, True)):
        kernel = kernel_of(lm_of(name), "norm", phrases=partial(move, ordered=ordered), **Q)
        assert (lowest_p_value(kernel, reference, expected, moved=moved) < FALSE_ALARM) == found


def chains_of(reference, kernel, blocks, copies, sweeps):
    """Run chains from the least likely state; return the run, and the p-value of their last states."""
    start = reference.states[int(reference.target.argmin())]
    tokens, held = torch.tensor([start[0]] * copies), held_of(reference, [start] * copies)
    streams = [chain_stream(3, 0, reference.length, chain) for chain in range(copies)]
    context = torch.zeros(copies, dtype=torch.long)
    finished = finish(run(kernel, tokens, context, streams, Schedule(sweeps, **blocks), held))
    expected = reference.of_sequences()
    number = {state: i for i, state in enumerate(expected)}
    ends = [number.get(tuple(row), len(number)) for row in finished.sweeps[-1].end.tokens.tolist()]
    counts = np.bincount(ends, minlength=len(number) + 1)
    return finished, p_value(counts, np.array([*expected.values(), 0.0]))


@pytest.mark.parametrize(
    ("energy", "schedule", "name"),
    [("norm", schedule, "one") for schedule in SCHEDULES]
    + [("norm", "single", name) for name in SETS if name not in ("one", "one twice, ordered")]
    + [("one-pass", "informed", "one twice"), ("norm + one-pass", "informed", "two")],
)
def test_chains_have_the_target_given_their_phrases(energy, schedule, name):
    """After 16 sweeps, the slowest chain is within 3e-3 of the target (total variation, by enumeration).

    "One twice, ordered" is still 6e-2 away, so only its single updates are tested, above.
    """
    move, scan, blocks = SCHEDULES[schedule]
    lm, phrases = lm_of(name), ordered_or_not(SETS[name][1])
    kernel = kernel_of(lm, target_of(energy, lm), move=move, scan=scan, phrases=phrases, **Q)
    _, p = chains_of(reference_of(name, energy), kernel, blocks, copies=1000, sweeps=16)
    assert p > FALSE_ALARM


def test_chains_whose_phrases_stay_do_not_have_the_target():
    reference = reference_of("one")
    for phrases, found in ((PhraseMove, False), (None, True)):
        _, p = chains_of(reference, kernel_of(LM, "norm", phrases=phrases, **Q), {}, copies=1000, sweeps=16)
        assert (p < FALSE_ALARM) == found


@pytest.mark.parametrize("name", SETS)
def test_moves_of_positions_move_no_phrase(name):
    reference = reference_of(name)
    kernel = kernel_of(lm_of(name), "norm", metropolis=False, **Q)
    finished, _ = chains_of(reference, kernel, {}, copies=50, sweeps=3)
    begun = finished.sweeps[0].end.tokens
    stays = held_of(reference, [reference.states[int(reference.target.argmin())]])[0].ne(FREE)
    for sweep in finished.sweeps:
        assert torch.equal(sweep.end.tokens[:, stays], begun[:, stays])


@pytest.mark.parametrize("schedule", ["single", "pairs", "informed"])
def test_a_chain_with_phrases_is_the_same_in_any_batch(schedule):
    """The batch has chains with other phrases, without phrases, and of other lengths."""
    move, scan, blocks = SCHEDULES[schedule]
    kernel = kernel_of(LM, "norm", move=move, scan=scan, phrases=PhraseMove, **Q)
    start = torch.tensor([[1, 2, 0, LM.pad], [0, 1, 2, 0], [2, 2, 1, 1]])
    held = torch.tensor([[2, 2, 0, 0], [2, 3, 3, 0], [0, 0, 0, 0]])
    lengths = [3, 4, 4]
    schedule = Schedule(6, **blocks)

    def ran(rows):
        streams = [chain_stream(1, 0, lengths[row], row) for row in rows]
        return finish(run(kernel, start[rows], torch.zeros(len(rows)).long(), streams, schedule, held[rows]))

    together = ran([0, 1, 2])
    for row in range(3):
        alone = ran([row])
        for mixed, own in zip(together.sweeps, alone.sweeps, strict=True):
            assert torch.equal(mixed.end.tokens[row], own.end.tokens[0])
            assert mixed.cost.rows[row] == own.cost.rows[0]
