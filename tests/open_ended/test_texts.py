"""Masked language models of text from Python: whole texts as states, and generation in one call."""

import itertools
import json

import numpy as np
import pytest
import torch

from fairseq_mh import generate, load_masked_lm
from fairseq_mh.cli.main import main
from fairseq_mh.errors import UserError
from fairseq_mh.mcmc import evaluate, sample
from fairseq_mh.mcmc.energy import as_energy
from fairseq_mh.open_ended.texts import TextLM
from tests.masked_lms.tiny_models import bert, tokenizer_of
from tests.mcmc.harness import FALSE_ALARM, p_value


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    bert().save_pretrained(folder)
    tokenizer_of().save_pretrained(folder)
    return folder


@torch.no_grad()
def energy_by_definition(mlm, words):
    """Return E_norm of a text, whose [CLS] and [SEP] are given."""
    energy, line = 0.0, [2, *words, 3]
    for place, symbol in enumerate(words, 1):
        masked = [4 if n == place else other for n, other in enumerate(line)]
        logits = mlm.project(mlm.model(input_ids=torch.tensor([masked])).logits[0, place])[[6, 7, 8]]
        energy -= float(logits.log_softmax(0)[symbol - 6])
    return energy


@torch.no_grad()
def test_states_are_texts_without_their_special_symbols(mlm):
    """Texts of several lengths in one batch have the energies that they have alone."""
    lm = TextLM(mlm)
    tokens = lm.encode(["a b", "c", "c c a b"])
    assert tokens.tolist() == [[6, 7, 0, 0], [8, 0, 0, 0], [8, 8, 6, 7]]
    assert lm.decode(tokens) == ["a b", "c", "c c a b"]
    energy = as_energy("norm")
    found = energy.total(evaluate(lm, energy, tokens, torch.zeros(3, dtype=torch.long)).state.scores)
    expected = [energy_by_definition(mlm, words) for words in ([6, 7], [8], [8, 8, 6, 7])]
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.usefixtures("large_queries")
def test_a_hugging_face_model_is_sampled_exactly(mlm, monkeypatch):
    """Chi-square test of 1,500 chains with a fixed seed, which a right sampler fails for one seed in a million.

    Degenerate Gibbs, the control, fails it.
    """
    run, lm = mlm._run, TextLM(mlm)

    def run_distinct(tokens):  # 1,500 chains are in a few dozen texts
        distinct, number = tokens.unique(dim=0, return_inverse=True)
        return run(distinct)[number]

    states = list(itertools.product([6, 7, 8], repeat=2))
    weights = np.exp([-energy_by_definition(mlm, state) for state in states])
    monkeypatch.setattr(mlm, "_run", run_distinct)
    for metropolis in (True, False):
        ends = sample(lm, lm.encode(["a a"] * 1500), sweeps=10, metropolis=metropolis).tokens[:, -1].tolist()
        counts = np.array([ends.count(list(state)) for state in states])
        assert (p_value(counts, weights / weights.sum()) > FALSE_ALARM) == metropolis


NO_STATES = {
    "empty": ("", "a text is empty"),
    "a mask": ("a [MASK]", "no state may hold"),
    "an unknown word": ("a word", "no state may hold"),
    "an unused symbol": ("[unused0]", "no state may hold"),
    "too long": ("a " * 40, "a text has 42 symbols, but the model reads 30"),
}


@pytest.mark.parametrize("name", NO_STATES)
def test_texts_that_are_no_states_are_refused(mlm, name):
    text, message = NO_STATES[name]
    with pytest.raises(UserError, match=message):
        TextLM(mlm).encode(["a", text])


def test_generated_texts_are_those_of_the_command(folder, tmp_path):
    """The same chains, whatever the batches, with their energies; all options have the command's defaults."""
    command = ["sample", str(folder), "--output", str(tmp_path / "out"), "--chains", "5", "--length", "1", "4"]
    assert main([*command, "--text", "a {2} {}", "--seed", "3", "--mh-sweeps", "4"]) == 0
    expected = [json.loads(line) for line in (tmp_path / "out/samples.jsonl").read_text().splitlines()]
    lm = load_masked_lm(folder)
    found = generate(lm, "a {2} {}", chains=5, length=(1, 4), seed=3, batch_size=2, sweeps=4)
    assert [one.text for one in found] == [one["text"] for one in expected]
    assert [one.tokens.tolist() for one in found] == [one["tokens"] for one in expected]
    assert [one.energy for one in found] == pytest.approx([one["energy_norm"] for one in expected])
    assert lm.decode(torch.stack([one.tokens for one in found[:1]])) == [found[0].text]


NO_TEXTS = {
    "no blank": ({"text": "a"}, "no blank"),
    "an unknown word": ({"text": "word {2}"}, "no symbols for parts of the text"),
    "too long": ({"length": (1, 40)}, "reads 30 symbols"),
    "lengths": ({"length": (3, 2)}, "MIN at most MAX"),
    "chains": ({"chains": 0}, "--chains must be 1"),
    "an unknown option": ({"sweep": 3}, "did you mean --mh-sweeps"),
    "an unknown energy": ({"energy": "cooked"}, "cooked"),
    "a temperature": ({"temperature": 0}, "above 0"),
}


@pytest.mark.parametrize("name", NO_TEXTS)
def test_generation_that_cannot_be_is_refused(mlm, name):
    options, message = NO_TEXTS[name]
    with pytest.raises(UserError, match=message):
        generate(TextLM(mlm), **options)
