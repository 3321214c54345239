"""The benchmarks measure what they say: the same energies, the same number of proposals."""

import pytest
import torch
from algorithm_1 import Chain
from decoding import AT_ONE, PAPER, load, sample_of, trace_of
from rates import Rows
from run import rows_per_update

from fairseq_mh.cmlm import allowed_symbols

MODEL = "models/libreoffice-de-en"


@pytest.fixture(scope="module")
def loaded():
    return load(MODEL, *PAPER)


@torch.no_grad()
def test_algorithm_1_has_the_packages_energy(loaded):
    sample = sample_of(loaded, 2)
    rows = Rows(loaded.model, loaded.task.target_dictionary, sample)
    dictionary, source = loaded.task.target_dictionary, sample["net_input"]["src_tokens"][:1]
    chain = Chain(loaded.model, dictionary, allowed_symbols(dictionary), source[source != dictionary.pad()][None], 1)
    tokens = rows.tokens[0][rows.valid[0]]
    state = torch.cat([torch.tensor([dictionary.bos()]), tokens, torch.tensor([dictionary.eos()])])
    assert chain.energy(state) == pytest.approx(-rows.engine()[: len(tokens)].sum().item(), abs=1e-3)


@torch.no_grad()
def test_algorithm_1_lowers_it(loaded):
    sample = sample_of(loaded, 1)
    dictionary = loaded.task.target_dictionary
    chain = Chain(loaded.model, dictionary, allowed_symbols(dictionary), sample["net_input"]["src_tokens"], 1)
    before, _ = chain.run(3, 0, 1.0, 1.0, 1.0)
    after, proposals = chain.run(3, 2, 0.02, 0.02, 1.0)
    assert proposals == 6
    assert chain.energy(after) <= chain.energy(before)


@torch.no_grad()
def test_an_accepted_move_pays_its_whole_energy():
    """At temperature 1 an update costs at least the novel rate, less the changed position itself."""
    figures = rows_per_update(trace_of(MODEL, 2, *PAPER, *AT_ONE))
    assert 0.1 < figures["novel rate"] < 0.6
    assert 0 < figures["above novel"] + 1 / 4 < 0.6
