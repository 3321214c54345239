"""Checks of chains that sample the product of the tiny CMLM and another model, by enumeration."""

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fairseq import checkpoint_utils
from fairseq.tasks.translation_lev import TranslationLevenshteinConfig, TranslationLevenshteinTask

from tests.tiny_cmlm import Tiny, trace_of

WEIGHT, TEMPERATURE, SWEEPS, CHAINS = 0.7, 2.0, 12, 5000


def stock_model(tiny: Tiny, checkpoint: Path) -> tuple[Any, Any]:
    """Return a model in float64 as fairseq itself loads it, and the test set with the sources as a CMLM reads them."""
    cfg = TranslationLevenshteinConfig(data=str(tiny.folder), source_lang="de", target_lang="en", dataset_impl="mmap")
    task = TranslationLevenshteinTask.setup_task(cfg)
    (model,), _ = checkpoint_utils.load_model_ensemble([str(checkpoint)], task=task)
    task.load_dataset("test")
    return model.eval().double(), task.dataset("test")


def check_product(tiny: Tiny, trace: Path, own: str, other: Path, energy_of: Callable[[tuple], float]) -> None:
    """Compare the last states of 5,000 chains with the enumerated exp(-(E + w E_other) / tau).

    The distance is total variation. For C chains over S states, a right sampler's expected distance is at most
    sqrt(S / C) / 2 = 0.037, and exceeds that by more than 0.043 with probability below exp(-2 C 0.043^2) = 1e-8
    (McDiarmid). As a control, the same chains are further than that from either model's own distribution.

    Args:
        tiny: the CMLM.
        trace: the file for the trace.
        own: the name of the CMLM's energy.
        other: the checkpoint of the other model.
        energy_of: the other model's energy of a state, by definition.
    """
    options = ("--gen-subset", "one", "--mh-gold-length", "--mh-init", "random", "--mh-block-size", 1)
    options += ("--mh-scan", "random", "--mh-energy", f"{own},{other}:{WEIGHT}")
    options += ("--mh-temperature", TEMPERATURE, "--mh-final-temperature", TEMPERATURE)
    options += ("--mh-proposal-temperature", 1.3, "--mh-chains", CHAINS, "--mh-sweeps", SWEEPS)
    records = trace_of(tiny, trace, *options)
    ends = Counter(tuple(record["tokens"]) for record in records if record["sweep"] == SWEEPS)
    states = list(itertools.product([tiny.dictionary.index(word) for word in "abc"], repeat=3))
    mine = {tuple(record["tokens"]): record[f"energy_{own}"] for record in records}
    assert set(mine) == set(states)
    cmlm, others = np.array([mine[state] for state in states]), np.array([energy_of(state) for state in states])
    frequencies = np.array([ends[state] for state in states]) / CHAINS
    bound = np.sqrt(len(states) / CHAINS) / 2 + 0.043

    def distance(energies):
        weights = np.exp(-energies / TEMPERATURE)
        return np.abs(frequencies - weights / weights.sum()).sum() / 2

    assert distance(cmlm + WEIGHT * others) < bound
    assert distance(cmlm) > bound
    assert distance(others) > bound
    number = {state: i for i, state in enumerate(states)}
    for record in records[:200]:  # fairseq's decoder has a float32 softmax in its attention, in float64 too
        index, found = number[tuple(record["tokens"])], record[f"energy_{other.stem}"]
        assert found == pytest.approx(others[index], abs=1e-5)
        assert record["energy"] == pytest.approx(cmlm[index] + WEIGHT * found, abs=1e-6)
