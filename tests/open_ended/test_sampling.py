"""Chains over the blanks of texts have the distribution that plain loops compute by enumeration."""

import itertools

import numpy as np
import pytest
import torch

from fairseq_mh.mcmc.chain import finish
from fairseq_mh.open_ended.sampling import sample
from fairseq_mh.sampler_config import SamplerConfig
from tests.mcmc.harness import FALSE_ALARM, p_value

TEXT = "a {2} b {1}"
CHAINS = 1500
SETTINGS = {
    "single, norm": {"mh_energy": "norm", "mh_block_size": 1, "mh_scan": "random"},
    "blocks, raw": {"mh_energy": "raw", "mh_scan": "random"},
    "informed, norm": {"mh_energy": "norm", "mh_block_size": 1},
}


@pytest.fixture
def thrifty(mlm, monkeypatch):
    """The model, which reads equal texts of a query once: thousands of chains are in a few dozen texts."""
    run = mlm._run

    def run_distinct(tokens):
        distinct, number = tokens.unique(dim=0, return_inverse=True)
        return run(distinct)[number]

    monkeypatch.setattr(mlm, "_run", run_distinct)
    return mlm


def config(**options):
    return SamplerConfig(mh_temperature=1, mh_final_temperature=1, mh_proposal_temperature=1, mh_sweeps=12, **options)


def target(mlm, name):
    """Return exp(-E), normalised over all fillings; each position is masked in turn, the given ones included."""
    weights = []
    for words in itertools.product([6, 7, 8], repeat=3):
        energy = 0.0
        for place in (1, 2, 3, 4, 5):
            line = [2, 6, *words[:2], 7, words[2], 3]  # [CLS] a . . b . [SEP]
            symbol, line[place] = line[place], 4
            with torch.no_grad():
                logits = mlm.project(mlm.model(input_ids=torch.tensor([line])).logits[0, place])[[6, 7, 8]].numpy()
            shift = {"raw": 0.0, "norm": np.log(np.exp(logits).sum())}[name]
            energy -= logits[symbol - 6] - shift
        weights.append(np.exp(-energy))
    return np.array(weights) / sum(weights)


def counts(mlm, cfg, chains=CHAINS):
    ends = finish(sample(mlm, TEXT, range(1, 2), range(chains), 1, cfg)).sweeps[-1].end.tokens
    assert set(ends.unique().tolist()) <= {6, 7, 8}
    assert ends[:, [0, 3]].unique(dim=0).tolist() == [[6, 7]]  # the given symbols a and b
    return np.bincount(((ends[:, [1, 2, 4]] - 6) * torch.tensor([9, 3, 1])).sum(1), minlength=27)


@pytest.mark.usefixtures("large_queries")
@pytest.mark.parametrize("name", SETTINGS)
def test_chains_have_the_enumerated_distribution(thrifty, name):
    """Chi-square test at p < 1e-6 with a fixed seed: a correct sampler would fail with one seed in a million."""
    cfg = config(**SETTINGS[name])
    assert p_value(counts(thrifty, cfg), target(thrifty, cfg.mh_energy)) > FALSE_ALARM


@pytest.mark.usefixtures("large_queries")
def test_degenerate_gibbs_has_another_distribution(thrifty):
    """The same test detects, as a control, a sampler without the acceptance ratio."""
    cfg = config(mh_decoding="gibbs", mh_block_size=1)
    assert p_value(counts(thrifty, cfg, 4 * CHAINS), target(thrifty, "norm")) < FALSE_ALARM


def test_a_chain_does_not_depend_on_its_batch(mlm):
    cfg = config(mh_block_size=1)
    whole = finish(sample(mlm, "a {}", range(2, 9), range(8), 1, cfg))
    parts = [finish(sample(mlm, "a {}", range(2, 9), ids, 1, cfg)) for ids in (range(3), range(3, 8))]
    assert whole.texts == [text for part in parts for text in part.texts]
    assert whole.lengths == [length for part in parts for length in part.lengths]
    assert set(whole.lengths) <= set(range(2, 9))
    assert len(set(whole.lengths)) > 1


def test_the_start_of_a_chain_has_no_masks(mlm):
    start = finish(sample(mlm, "{}", range(3, 9), range(8), 1, config(mh_block_size=1))).sweeps[0]
    assert not (start.end.tokens == mlm.mask).any()
    assert start.end.scores.isfinite().all()


def test_states_have_no_masks_if_the_model_produces_nan(mlm, monkeypatch):
    """The proposals are rejected and counted."""
    project = mlm.project
    monkeypatch.setattr(mlm, "project", lambda features: project(features) * torch.nan)
    sweeps = finish(sample(mlm, "{}", range(3, 9), range(4), 1, config(mh_block_size=1))).sweeps
    assert not (sweeps[-1].end.tokens == mlm.mask).any()
    assert all((sweep.broken == sweep.proposals).all() for sweep in sweeps[1:])


@pytest.mark.parametrize("decoding", ["mh", "gibbs"])
def test_rows_count_what_the_model_read(mlm, decoding, monkeypatch):
    read, asked = mlm.read, []
    monkeypatch.setattr(mlm, "read", lambda tokens, sites: (asked.append(len(tokens)), read(tokens, sites))[1])
    cfg = config(mh_block_size=1, mh_decoding=decoding, mh_scan="random")
    found = finish(sample(mlm, "{}", range(3, 9), range(8), 1, cfg))
    assert sum(int(sweep.cost.rows.sum()) for sweep in found.sweeps) == sum(asked)
    lengths = torch.tensor(found.lengths)
    assert found.sweeps[0].cost.rows.tolist() == (2 * lengths).tolist()  # filled, and evaluated
