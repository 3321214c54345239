"""Helpers of the sampler's tests: kernels on tables, single steps, chains, and a chi-square test."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import scipy.stats
import torch

from fairseq_mh.mcmc.chain import chain_stream, finish, run
from fairseq_mh.mcmc.conditional import conditional
from fairseq_mh.mcmc.energy import ENERGIES, Term, as_energy, sum_of
from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.mcmc.move import Update
from fairseq_mh.mcmc.moves.informed import Informed
from fairseq_mh.mcmc.moves.masked import MaskedConditional
from fairseq_mh.mcmc.moves.phrases import PhraseMove
from tests.mcmc.tables import SUMS, random_table, tables_of

FALSE_ALARM = 1e-6  # the p-value below which a statistical test fails

Q = {"temperature": 1.6}  # of the proposals

LM = random_table(3, 3, seed=5, scale=1.0)


class Moves(NamedTuple):
    """A move, its scan, and the block sizes of its sweeps.

    Attributes:
        move: the class of the move.
        scan: its keyword argument for the scan, if it is not the default.
        blocks: the keyword arguments of `Schedule` for the block sizes.
    """

    move: type = MaskedConditional
    scan: dict = {}  # noqa: RUF012  (no test changes these two)
    blocks: dict = {}  # noqa: RUF012


SCHEDULES = {
    "single": Moves(),
    "sequential": Moves(scan={"scan_name": "sequential"}),
    "pairs": Moves(blocks={"block_size": 2, "final_block_size": 2}),
    "whole to single": Moves(blocks={"block_size": 0, "final_block_size": 1}),
    "informed": Moves(Informed),
    "informed pairs": Moves(Informed, blocks={"block_size": 2, "final_block_size": 2}),
    "informed whole to single": Moves(Informed, blocks={"block_size": 0, "final_block_size": 1}),
}


def kernel_of(lm, energy="norm", metropolis=True, move=MaskedConditional, scan=None, phrases=None, **q):
    """Return the kernel of these settings.

    Args:
        lm: a table.
        energy: the energy of the target: a name, an energy from one pass, or a sum of terms.
        metropolis: False for degenerate Gibbs.
        move: the class of the move.
        scan: the keyword argument of a `MaskedConditional`, if it is not the default.
        phrases: a function that makes the move of phrases from the other move; without it, phrases stay.
        q: the settings of `conditional`.
    """
    target, settings = as_energy(energy), dict(scan or {})
    if issubclass(move, Informed):
        settings["certainty"] = target.certainty
    others = move(log_q=partial(conditional, **q), **settings)
    return Kernel(lm, target, phrases(others) if phrases else others, metropolis)


def ordered_or_not(ordered):
    """Return the function that makes the move of phrases, for `kernel_of`."""
    return partial(PhraseMove, ordered=ordered)


def target_of(name, lm):
    """Return the energy of that name in `ENERGIES` or `SUMS`, or the energy from one pass of a table."""
    named = {table: Term(table, energy) for table, energy in tables_of(lm).items()}
    named["bounded"] = replace(named["bounded"], bounded=True, expert=True)
    named |= {masked: Term(masked) for masked in ENERGIES}
    return sum_of(replace(named[term], weight=weight) for term, weight in SUMS.get(name, {name: 1.0}).items())


def at(kernel, tokens, held=None):
    """Return the evaluated states of these tokens (N, T), all in context 0."""
    return kernel.init(tokens, torch.zeros(len(tokens), dtype=torch.long), held)[0]


def step(kernel, state, masked, temperature, uniforms, phrase=None):
    """Update every chain once; return the states reached and the `Info`.

    Args:
        kernel: the kernel of the chains.
        state: the states of N chains.
        masked: (N, T) bool, the positions to mask.
        temperature: the temperature of the target.
        uniforms: (N, S + 1).
        phrase: (N,) long, the number of the phrase that moves.
    """
    phrase = torch.zeros(len(masked), dtype=torch.long) if phrase is None else phrase
    temperature = torch.full((len(masked),), temperature, dtype=torch.float64)
    trial = kernel.begin(state, Update(masked[:, None], phrase[:, None]), uniforms[:, None], temperature)
    while trial.asked.any():
        trial = kernel.advance(trial)
    return kernel.settle(trial)


def run_from(kernel, tokens, schedule, seed=1, held=None):
    """Run a chain from each of these states (N, T), all in context 0."""
    streams = [chain_stream(seed, 0, tokens.size(1), chain) for chain in range(len(tokens))]
    return finish(run(kernel, tokens, torch.zeros(len(tokens), dtype=torch.long), streams, schedule, held))


def column(snapshot_or_state, kernel, name):
    """Return minus each position's share of the term of that name: (N, T) nats."""
    return snapshot_or_state.scores[..., kernel.energy.columns.index(name)]


def p_value(counts: np.ndarray, expected: np.ndarray) -> float:
    """Return the p-value of a chi-square test of counts against probabilities.

    The rarest cells are pooled until their expected count is 5.
    """
    expected = expected * counts.sum()
    if counts[expected == 0].any():
        return 0.0
    order = np.argsort(expected)
    rare = min(int((np.cumsum(expected[order]) < 5).sum()) + 1, len(order))
    pooled = [np.append(cells[order][rare:], cells[order][:rare].sum()) for cells in (counts, expected)]
    return scipy.stats.chi2.sf(((pooled[0] - pooled[1]) ** 2 / pooled[1]).sum(), max(len(pooled[0]) - 1, 1))


def number_of(tokens, lm):
    """Return the index of each state (N, T) among all states of a table: (N,) long."""
    places = lm.symbols ** torch.arange(tokens.size(1) - 1, -1, -1)
    return (tokens * places).sum(1)
