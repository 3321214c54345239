"""The lengths of the chains, and their first states."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fairseq_mh import Translator
from fairseq_mh.errors import UserError
from fairseq_mh.masked_lms.cmlm import CMLM
from fairseq_mh.mcmc.energy import as_energy
from fairseq_mh.translation.chains import plan as chain_plan
from fairseq_mh.translation.chains.plan import lay_out, plan_chains
from fairseq_mh.translation.chains.starts import STARTS, Start, at_likeliest_lengths
from fairseq_mh.translation.given.outline import OPEN, Outline
from tests.mcmc.tables import TableLM, random_table


def test_a_sentence_gets_its_own_possible_lengths():
    """They do not depend on the other sentences of the batch."""
    log_p = torch.tensor([[-3.0, -1.0, -2.0, -torch.inf], [-torch.inf, -torch.inf, -0.1, -torch.inf]])
    plan = plan_chains(log_p, chains=2, beam=3)
    assert plan.context.tolist() == [0] * 6 + [1] * 2
    assert plan.lengths.tolist() == [1, 1, 2, 2, 0, 0, 2, 2]
    assert plan.chains.tolist() == [0, 1] * 4
    assert plan.length_scores.tolist() == [
        log_p[sentence, length] for sentence, length in zip(plan.context, plan.lengths, strict=True)
    ]


def test_many_lengths_are_cut_where_they_become_implausible():
    """The first ten are decoded if they are asked for."""
    sharp, flat = torch.arange(0.0, -200.0, -1.0), torch.full((200,), -5.0)
    for beam, expected in ((5, [5, 5]), (11, [10, 11]), (1000, [10, 200])):
        plan = plan_chains(torch.stack([sharp, flat]), chains=1, beam=beam)
        assert plan.context.bincount().tolist() == expected


def test_a_flat_prediction_has_no_more_lengths_than_its_source_has_symbols():
    """Before, a model whose prediction of lengths was never trained ran chains at each length that it knows."""
    flat, symbols = torch.full((3, 200), -5.0), torch.tensor([3, 30, 300])
    plan = plan_chains(flat, chains=2, beam=1000, symbols=symbols)
    assert plan.context.bincount().tolist() == [20, 60, 400]


def test_a_sentence_without_a_possible_length_is_refused():
    with pytest.raises(UserError, match="lengths"):
        plan_chains(torch.tensor([[-1.0, -2.0], [torch.nan, torch.nan]]), chains=1, beam=1)


def test_a_given_length_is_certain():
    """This also holds for a length that the length predictor has no class for."""
    plan = plan_chains(torch.tensor([[-1.0, -torch.inf]]), chains=1, beam=1, gold=torch.tensor([1]))
    assert (plan.lengths.tolist(), plan.length_scores.tolist()) == ([1], [0.0])


def test_starts_of_a_broken_model_hold_only_symbols_of_the_state_space():
    table = random_table(3, 3, seed=1).table
    table[:] = torch.nan
    lm = TableLM(table)
    lm.allowed[0] = False
    plan = plan_chains(torch.tensor([[-torch.inf, -torch.inf, -torch.inf, 0.0]]), chains=4, beam=1)
    streams = [np.random.default_rng(n) for n in range(4)]
    for name in STARTS.keys() - {"reference"}:
        blank = torch.zeros(4, 3, dtype=torch.long)
        start = Start(lm, plan, blank, blank.bool(), 2, streams, None, *[as_energy("norm")] * 2)
        tokens = STARTS[name](start).tokens
        assert lm.allowed[tokens].all(), name


def test_given_tokens_have_the_same_places_in_every_start():
    """There are two open blanks, whose lengths each chain draws or mask-predict chooses."""
    lm = random_table(6, 5, seed=1)
    outline = Outline([4, OPEN, 5, OPEN])
    log_p = torch.tensor([[-torch.inf] * 4 + [-1.0, -2.0]])
    plan = plan_chains(log_p, chains=4, beam=2)
    streams = [np.random.default_rng(n) for n in range(len(plan.chains))]
    blank, held = lay_out(plan, [outline], streams, 0, lm.pad)
    assert len({tuple(row.tolist()) for row in held}) > 2
    start = Start(lm, plan, blank, held, 2, streams, None, *[as_energy("norm")] * 2)
    for chosen in (start, at_likeliest_lengths(start)):
        for name in STARTS.keys() - {"reference"}:
            tokens = STARTS[name](chosen).tokens
            assert torch.equal(tokens[chosen.held.bool()], chosen.blank[chosen.held.bool()]), name
            assert sorted(set(tokens[chosen.held.bool()].tolist())) == [4, 5]
    assert len(at_likeliest_lengths(start).plan.chains) == 4


@pytest.mark.parametrize(("length", "far"), [(1, False), (9, False), (10, True)])
def test_predicted_lengths_far_from_the_source_give_one_warning(tiny, caplog, monkeypatch, length, far):
    translator = Translator.load(tiny.folder, source_lang="de", target_lang="en", sweeps=1, chains=1)
    log_p = torch.full((1, 11), -9.0).index_fill(1, torch.tensor([length]), -0.1)
    monkeypatch.setattr(CMLM, "length_log_probs", lambda self, out: log_p.repeat(out["encoder_out"][0].size(1), 1))
    translator.translate(["a b c a", "a"])
    translator.translate(["a", "b"])
    said = [record.message for record in caplog.records if "the length predicted for its translation" in record.message]
    assert len(said) == far
    assert all(
        f"sentence 1 has 1 symbols, but the length predicted for its translation is {length}" in one for one in said
    )


def test_lengths_that_are_left_out_give_one_warning(tiny, caplog, monkeypatch):
    monkeypatch.setattr(chain_plan, "SURE_LENGTHS", 2)
    translator = Translator.load(tiny.folder, source_lang="de", target_lang="en", sweeps=1, chains=1)
    log_p = torch.tensor([[-torch.inf, -0.1, -9.0, -9.0, -1.0, -9.0, -9.0]])
    monkeypatch.setattr(CMLM, "length_log_probs", lambda self, out: F.pad(log_p, (0, 4), value=-torch.inf))
    for beam, lengths in ((2, {1, 4}), (1000, {1, 4}), (1000, {1, 4})):
        (result,) = translator.decode(["a b c a"], iter_decode_with_beam=beam)
        assert {record["length"] for record in result.trace} == lengths
    said = [record.message for record in caplog.records if "implausible" in record.message]
    assert said == [
        "--iter-decode-with-beam 1000: a sentence has at most 2 lengths here; beyond 10, implausible ones are left "
        "out, and those that are more than its source has symbols"
    ]
