"""Tests that the benchmarks compare like with like: the same energies, and the same number of proposals."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from benchmarks import run
from benchmarks.algorithm_1 import Chain
from benchmarks.correlation import compare_energies
from benchmarks.decoding import PAPER, load_decoder, sample_of
from benchmarks.phrases import draw_phrases, shares_held
from benchmarks.rates import EnergyRows
from benchmarks.run import rows_per_update
from fairseq_mh.masked_lms.dictionaries import allowed_symbols
from fairseq_mh.translation.options.presets import PRESETS

MODEL = str(Path(__file__).parents[2] / "models/libreoffice-de-en")


@pytest.fixture(scope="module")
def loaded():
    return load_decoder(MODEL, *PAPER)


@torch.no_grad()
def test_the_energy_of_algorithm_1_equals_that_of_the_package(loaded):
    sample = sample_of(loaded, 2)
    rows = EnergyRows(loaded.model, loaded.task.target_dictionary, sample)
    dictionary, source = loaded.task.target_dictionary, sample["net_input"]["src_tokens"][:1]
    chain = Chain(loaded.model, dictionary, allowed_symbols(dictionary), source[source != dictionary.pad()][None], 1)
    tokens = rows.tokens[0][rows.valid[0]]
    state = torch.cat([torch.tensor([dictionary.bos()]), tokens, torch.tensor([dictionary.eos()])])
    assert chain.energy(state) == pytest.approx(-rows.engine()[: len(tokens)].sum().item(), abs=1e-3)


@torch.no_grad()
def test_algorithm_1_lowers_the_energy(loaded):
    sample = sample_of(loaded, 1)
    dictionary = loaded.task.target_dictionary
    chain = Chain(loaded.model, dictionary, allowed_symbols(dictionary), sample["net_input"]["src_tokens"], 1)
    before, _ = chain.run(3, 0, 1.0, 1.0, 1.0)
    after, proposals = chain.run(3, 2, 0.02, 0.02, 1.0)
    assert proposals == 6
    assert chain.energy(after) <= chain.energy(before)


def test_rows_are_counted_in_units_of_the_length():
    """Count one sweep of a chain of 4 tokens and one sweep of a chain of 10 tokens, without the rows of the starts."""
    columns = ("sweep", "length", "proposals", "novel", "rows")
    records = [(0, 4, 0, 0, 4), (1, 4, 4, 1, 11), (0, 10, 0, 0, 10), (1, 10, 10, 3, 27)]
    figures = rows_per_update(pl.DataFrame(records, schema=columns, orient="row"))
    assert figures["rows per update / T"] == pytest.approx((11 + 27) / (16 + 100))
    assert figures["novel rate"] == pytest.approx((1 * 4 + 3 * 10) / (16 + 100))


@pytest.mark.parametrize("expert", [None, "teacher.pt"])
def test_seconds_are_compared_with_the_stock_decoder(monkeypatch, expert):
    """A run takes as many seconds as it has options; all have the same threads."""
    commands = []

    def generate(data, *more, threads):
        assert (data, threads) == ("data", 2)
        commands.append(more)
        return {"seconds": len(more)}

    monkeypatch.setattr(run, "generate", generate)
    found = dict(run.decoders("data", expert, 2, "--cpu"))
    assert [figures["seconds / stock"] * len(commands[0]) for figures in found.values()] == [*map(len, commands)]
    assert {name for name in PRESETS if f"preset {name}" in found} == {"rerank", "fast", "default", "best"}
    assert all(command[-1] == "--cpu" for command in commands)
    assert ("two-stream,teacher.pt:0/0.5" in commands[-1]) == bool(expert)


@torch.no_grad()
def test_two_stream_energy_is_nearer_to_norm_than_an_autoregressive_model():
    loaded = load_decoder(MODEL, "--mh-energy", f"norm,two-stream,{MODEL}/teacher.pt")
    found = compare_energies(loaded.generator.scorer, sample_of(loaded, 6), 8)
    assert list(found) == ["norm", "two-stream", "teacher"]
    assert all(nats.shape == (8, 6) for nats in found.values())
    distance = {name: np.abs(nats - found["norm"]).mean() for name, nats in found.items()}
    assert 0 < distance["two-stream"] < distance["teacher"]


def test_phrases_are_drawn_from_references_and_found_in_translations():
    """The phrases share no word and keep their order; if there is no room, fewer are drawn."""
    references = ["a b c d e f", "a", "a b"] * 20
    drawn = draw_phrases(references, 2)
    assert drawn == draw_phrases(references, 2)
    assert {len(mine) for mine in drawn[::3]} == {1, 2}
    assert {len(mine) for mine in drawn[1::3]} <= {0, 1}
    for reference, mine in zip(references, drawn, strict=True):
        assert " ".join(mine) in reference or reference.index(mine[0]) < reference.index(mine[1])
    found = shares_held([["a b"], ["c"], ["d"]], ["x a b.", "cc", "x"])
    assert found == {"held": 2 / 3, "whole": 1 / 3}
