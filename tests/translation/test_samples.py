"""Draws of translations have the enumerated distribution, and are counted and thinned as they should be."""

import itertools

import numpy as np
import pytest
import torch

from fairseq_mh import Translator
from fairseq_mh.errors import UserError
from fairseq_mh.translator import Found
from tests.mcmc.harness import FALSE_ALARM, p_value

TEXT, TEMPLATE, TEMPERATURE = "a b c a", "{3}", 2.0
WARM = {"temperature": TEMPERATURE, "final_temperature": TEMPERATURE}


@pytest.fixture(scope="module")
def translator(tiny):
    return Translator.load(tiny.folder, source_lang="de", target_lang="en")


@torch.no_grad()
def energies_by_definition(translator, dictionary):
    """Return E_norm of every text of three words, from a row of fairseq's decoder for each masked position."""
    model, special = translator.model, (dictionary.bos(), dictionary.eos())
    source = translator.reader.tokens(TEXT)[None]
    encoded = model.encoder(source, torch.tensor([source.size(1)]))
    words = {word: dictionary.index(word) for word in "abc"}
    energies = {}
    for state in itertools.product(words, repeat=3):
        energies[" ".join(state)] = 0.0
        for site, word in enumerate(state):
            tokens = torch.tensor([[special[0], *(words[other] for other in state), special[1]]])
            tokens[0, site + 1] = dictionary.unk()
            logits = model.decoder(normalize=False, prev_output_tokens=tokens, encoder_out=encoded)[0, site + 1]
            log_p = logits[list(words.values())].log_softmax(0)
            energies[" ".join(state)] -= float(log_p[list(words).index(word)])
    return energies


@pytest.mark.usefixtures("large_queries")
def test_frequencies_are_those_of_the_enumerated_distribution(tiny, translator):
    """Chi-square test of 1,000 independent draws, one of each chain, with a fixed seed.

    A right sampler fails for one seed in a million. The controls fail the same test: degenerate Gibbs, and draws at
    another temperature.
    """
    energies = energies_by_definition(translator, tiny.dictionary)
    weights = np.exp([-nats / TEMPERATURE for nats in energies.values()])

    def tested(**options):
        many = {"chains": 1000, "burn_in": 9, "template": TEMPLATE}
        (drawn,) = translator.sample([TEXT], 1000, **many, **options)
        counts = {one.text: one.count for one in drawn.frequencies}
        assert sum(counts.values()) == 1000
        assert set(counts) <= set(energies)
        for one in drawn.frequencies:
            assert one.frequency == one.count / 1000
            assert one.energy == pytest.approx(energies[one.text], abs=1e-4)
        return p_value(np.array([counts.get(text, 0) for text in energies]), weights / weights.sum())

    assert tested(**WARM) > FALSE_ALARM
    assert tested(**WARM, decoding="gibbs", energy="norm") < FALSE_ALARM
    assert tested(temperature=1.0, final_temperature=1.0) < FALSE_ALARM


def test_chains_have_the_enumerated_mean_energy(tiny, translator):
    """Within six standard errors, by the effective sample size; a right sampler fails for one seed in 10^8."""
    pytest.importorskip("arviz_stats", reason="needs the extra `eval`")
    energies = np.array(list(energies_by_definition(translator, tiny.dictionary).values()))
    law = np.exp(-energies / TEMPERATURE) / np.exp(-energies / TEMPERATURE).sum()
    mean, deviation = law @ energies, np.sqrt(law @ energies**2 - (law @ energies) ** 2)
    (drawn,) = translator.sample([TEXT], 1000, chains=20, template=TEMPLATE, **WARM)
    assert drawn.energies.shape == (20, 50)
    assert abs(float(drawn.energies.mean()) - mean) < 6 * deviation / np.sqrt(drawn.convergence.ess_bulk)


def test_burn_in_and_thinning_choose_the_sweeps(translator):
    """The draws of one chain are the same states, whichever of them are kept."""
    (all_,) = translator.sample([TEXT], 24, chains=2, burn_in=0)
    (some,) = translator.sample([TEXT], 6, chains=2, burn_in=3, thin=3)
    assert [(one.chain, one.sweep) for one in some.draws] == [(c, s) for s in (6, 9, 12) for c in (0, 1)]
    assert some.tokens.equal(all_.tokens[:, 5::3])
    assert some.energies.equal(all_.energies[:, 5::3])
    assert all_.tokens.shape == (2, 12, all_.draws[0].length)


@pytest.mark.parametrize(("draws", "chains", "shape"), [(10, 4, (4, 2)), (3, 4, (3, 1)), (1, 1, (1, 1))])
def test_there_are_exactly_as_many_draws_as_were_asked_for(translator, draws, chains, shape):
    found = translator.sample(["a b", "", "c"], draws, chains=chains, burn_in=1)
    assert [len(one.draws) for one in found] == [draws, 0, draws]
    assert found[0].energies.shape == found[0].tokens.shape[:2] == shape
    assert sum(one.count for one in found[0].frequencies) == draws
    assert (found[1].untranslated, found[1].frequencies, found[1].energies.numel()) == ("empty", [], 0)


def test_a_text_of_several_segmentations_is_counted_once(translator, monkeypatch):
    """Here the text is the first word."""
    text = Translator.text
    monkeypatch.setattr(Translator, "text", lambda self, tokens: text(self, tokens[:1]))
    (drawn,) = translator.sample([TEXT], 40, template=TEMPLATE, **WARM)
    assert {one.text for one in drawn.frequencies} <= {"a", "b", "c"}
    for one in drawn.frequencies:
        assert one.energy == min(draw.energy for draw in drawn.draws if draw.text == one.text)
    counts = [one.count for one in drawn.frequencies]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == 40


def test_draws_do_not_depend_on_the_batch(translator):
    """Nor on the preset of the translator; sweeps are yielded as they end."""
    texts = ["a b c a", "b b", "c a b b a c"]
    together = translator.sample(texts, 8, burn_in=2)
    fast = Translator.load(translator.data, source_lang="de", target_lang="en", preset="fast")
    (alone,) = fast.sample(texts[1:2], 8, numbers=[1], burn_in=2)
    assert alone.tokens.equal(together[1].tokens)
    events = list(translator.watch_samples(texts, 8, burn_in=2))
    assert sum(isinstance(event, Found) for event in events) == 3
    assert sum(not isinstance(event, Found) and event.sweep > 0 for event in events) == 3 * 4 * 4


def test_draws_are_exported_to_arviz(translator):
    pytest.importorskip("arviz_base", reason="needs ArviZ's arviz-base")
    (drawn,) = translator.sample([TEXT], 80)
    np.testing.assert_array_equal(drawn.to_arviz()["posterior"]["energy"], drawn.energies)


REFUSED = {
    "no draws": ({"draws": 0}, "draws must be 1"),
    "no chains": ({"chains": 0}, "chains must be 1"),
    "no thinning": ({"thin": 0}, "thin must be 1"),
    "burn-in": ({"burn_in": -1}, "burn_in must not be negative"),
    "sweeps": ({"sweeps": 5}, "sweeps follow from draws"),
    "annealed": ({"temperature": 0.5}, "one temperature"),
    "annealed by a preset": ({"preset": "best"}, "one temperature"),
    "lengths": ({"iter_decode_with_beam": 2}, "one length"),
    "mask-predict": ({"decoding": "mask-predict", "chains": 1}, "mask-predict draws nothing"),
    "an unknown option": ({"burnin": 3}, "no option burnin; did you mean burn_in"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_sampling_is_refused(translator, name):
    """Before anything is decoded, and when the call is made."""
    options, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        translator.sample(["a"], **options)
    with pytest.raises(UserError, match=message):
        translator.watch_samples(["a"], **options)
