"""Terminology constraints: `--constraints` in every decoder, and the first places of the phrases."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairseq_mh.errors import SentenceError
from fairseq_mh.mcmc.state import FIRST_PHRASE, FIXED
from fairseq_mh.translation.given.outline import OPEN, Outline
from fairseq_mh.translation.given.phrases import fits, place
from fairseq_mh.translator import Translator
from tests.mcmc.tables import TableLM
from tests.tiny_cmlm import cli, generated_here, lines_of, refused, trace_of

ORDERS = ("ordered", "unordered")
DECODERS = {
    "mh": {"chains": 2, "sweeps": 3},
    "two-stream": {"chains": 1, "sweeps": 3, "energy": "two-stream"},
    "norm": {"chains": 1, "sweeps": 2, "energy": "norm", "scan": "random", "init": "warm-start"},
    "mixed": {"chains": 2, "sweeps": 2, "init": "mixed", "select": "mbr"},
    "likeliest length": {"chains": 2, "sweeps": 2, "init": "mask-predict", "length_select": "mask-predict"},
    "gibbs": {"decoding": "gibbs", "chains": 2, "sweeps": 2},
    "mask-predict": {"decoding": "mask-predict"},
}


def holds(tokens, phrases, ordered) -> bool:
    """Return whether tokens contain the phrases without overlap, by trying all places."""
    ranges = [[i for i in range(len(tokens)) if tokens[i : i + len(one)] == one] for one in phrases]
    for places in itertools.product(*ranges):
        taken = [i + n for i, one in zip(places, phrases, strict=True) for n in range(len(one))]
        if len(set(taken)) == len(taken) and (not ordered or list(places) == sorted(places)):
            return True
    return False


def lines_with(phrases) -> str:
    return "".join("\t".join(mine) + "\n" for mine in phrases)


@pytest.fixture(scope="module")
def translator(tiny):
    return translator_of(tiny)


def translator_of(tiny, **options):
    return Translator.load(
        tiny.folder, path=tiny.folder / "checkpoint.pt", source_lang="de", target_lang="en", **options
    )


@pytest.fixture(scope="module")
def translators(tiny):
    """Return a translator for each decoder, ordered or not, because options of a call are slow to parse."""
    return {
        kind: translator_of(tiny, **options, nbest=9, iter_decode_with_beam=1 + n % 3, constraints=ORDERS[n % 2])
        for n, (kind, options) in enumerate(DECODERS.items())
    }


SENTENCES = ["a b c a", "b b", "c", "a c b"]
PHRASES = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(" ".join), max_size=3)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    phrases=st.lists(PHRASES, min_size=len(SENTENCES), max_size=len(SENTENCES)),
    kind=st.sampled_from(list(DECODERS)),
    one=st.sampled_from(range(len(SENTENCES))),
)
def test_every_translation_of_every_decoder_holds_its_phrases(translators, phrases, kind, one):
    """All of the n-best; and the same of one alone, and of the others without it, as in the whole batch."""
    translator, ordered = translators[kind], ORDERS[list(DECODERS).index(kind) % 2] == "ordered"
    results = translator.decode(SENTENCES, phrases=phrases)
    for result, mine in zip(results, phrases, strict=True):
        assert result.translations, result.untranslated
        for found in result.translations:
            assert holds(found.text.split(), [phrase.split() for phrase in mine], ordered)
    for part in ([one], [number for number in range(len(SENTENCES)) if number != one]):
        sentences, given = [SENTENCES[number] for number in part], [phrases[number] for number in part]
        for number, again in zip(part, translator.decode(sentences, phrases=given, numbers=part), strict=True):
            before = results[number]
            assert [found.text for found in again.translations] == [found.text for found in before.translations]
            assert again.rows == before.rows


def test_sentences_without_phrases_are_translated_as_before(translator):
    options = {"chains": 2, "sweeps": 3, "iter_decode_with_beam": 2}
    plain = translator.decode(SENTENCES, **options)
    empty = translator.decode(SENTENCES, phrases=[[], [""], [" "], []], **options)
    assert [one.trace for one in plain] == [one.trace for one in empty]
    mixed = translator.decode(SENTENCES, phrases=[["b a"], [], [], ["c"]], **options)
    for alone, beside in zip(plain[1:3], mixed[1:3], strict=True):  # energies may differ in their last digit
        assert [one["tokens"] for one in alone.trace] == [one["tokens"] for one in beside.trace]
        assert alone.rows == beside.rows


def test_impossible_phrases_do_not_stop_other_sentences(translator):
    """One phrase has an unknown word, and others are too long for a target."""
    phrases = [["a x"], [], ["a b c"] * 5, ["b"]]
    first, second, third, fourth = translator.decode(SENTENCES, phrases=phrases, chains=1, sweeps=1)
    assert "symbols that the model does not generate" in first.untranslated
    assert "15 tokens" in third.untranslated
    assert second.translations
    assert fourth.translations


def test_generate_reads_phrases_from_a_file(tiny, tmp_path):
    phrases = [["c b"], [], ["a", "b b"], ["b"], ["c c c"], ["a", "a"]]
    file = tmp_path / "phrases"
    file.write_text(lines_with(phrases))
    options = ("--mh-chains", 1, "--mh-sweeps", 2, "--nbest", 3, "--mh-phrases", file, "--constraints", "ordered")
    result = generated_here(tiny, *options)
    assert result.returncode == 0, result.stderr
    for number, lines in lines_of(result.stdout, "H").items():
        for line in lines:
            assert holds(line.split("\t")[1].split(), [one.split() for one in phrases[number]], ordered=True)


def test_mistakes_with_phrases_are_reported_in_one_line(tiny, tmp_path):
    file = tmp_path / "phrases"
    file.write_text("a\nb\n")
    assert "2 lines, but the subset has 6" in refused(generated_here(tiny, "--constraints", "--mh-phrases", file))
    file.write_text("a\n" * 6)
    assert "needs --constraints" in refused(generated_here(tiny, "--mh-phrases", file))
    assert "--mh-phrases FILE" in refused(generated_here(tiny, "--constraints"))
    missing = generated_here(tiny, "--constraints", "--mh-phrases", tmp_path / "none")
    assert "cannot be read" in refused(missing)
    assert "--score-reference" in refused(generated_here(tiny, "--constraints", "--score-reference"))
    file.write_text("c c c c c c c\n" * 6)
    long = refused(generated_here(tiny, "--constraints", "--mh-phrases", file, "--mh-gold-length"))
    assert "have 7 tokens, but the target must have the reference's" in long


def test_interactive_reads_phrases_after_tabs(tiny):
    """The format is fairseq's; a phrase with an unknown word, even in the first line, does not stop other lines."""
    lines = ["a b\tx", "a c b\tb a\tc", "b", "c a\tc c c c c c c c c c c c c", "c a b\ta"]
    size = ("--buffer-size", 3, "--batch-size", 1, "--source-lang", "de", "--target-lang", "en")
    options = ("--mh-chains", 1, "--mh-sweeps", 2, "--constraints", "ordered", *size)
    result = cli("interactive", tiny, *options, stdin="".join(f"{line}\n" for line in lines))
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    texts = {n: found[0].split("\t")[1].split() for n, found in lines_of(result.stdout, "H").items()}
    assert sorted(texts) == list(range(5))
    assert texts[0] == texts[3] == []
    assert holds(texts[1], [["b", "a"], ["c"]], ordered=True)
    assert "a" in texts[4]
    assert texts[2]
    assert "sentence 0: the given parts have symbols" in result.stderr
    assert "sentence 3: the given parts have 13 tokens" in result.stderr


@pytest.mark.usefixtures("large_queries")
def test_a_chain_with_a_phrase_has_the_distribution_given_it(tiny, tmp_path):
    """3,000 chains of one sentence against the enumerated target over words and the phrase's place.

    The bound is that of `test_generate.py`. The control: the same chains are further from the distribution in which
    every sequence with the phrase counts once, wherever and however often the phrase stands in it.
    """
    chains, sweeps, temperature = 3000, 8, 2.0
    file = tmp_path / "phrases"
    file.write_text("b\n")
    options = ("--gen-subset", "one", "--mh-gold-length", "--mh-init", "random", "--constraints", "unordered")
    options += ("--mh-temperature", temperature, "--mh-final-temperature", temperature, "--mh-phrases", file)
    options += ("--mh-proposal-temperature", 1.3, "--mh-chains", chains, "--mh-sweeps", sweeps)
    options += ("--mh-select", "last")  # the hypotheses of one sweep are read
    records = trace_of(tiny, tmp_path / "trace", *options)
    energies = {tuple(record["tokens"]): record["energy"] for record in records}
    words, phrase = [tiny.dictionary.index(word) for word in "abc"], tiny.dictionary.index("b")
    states = [state for state in itertools.product(words, repeat=3) if phrase in state]
    assert set(energies) <= set(states)
    ends = Counter(tuple(record["tokens"]) for record in records if record["sweep"] == sweeps)
    frequencies = np.array([ends[state] for state in states]) / chains
    nats = np.array([energies.get(state, np.inf) for state in states])
    places = np.array([state.count(phrase) for state in states])

    def distance(counted):
        weights = counted * np.exp(-nats / temperature)
        return np.abs(frequencies - weights / weights.sum()).sum() / 2

    bound = np.sqrt(len(states) / chains) / 2 + 0.043
    assert distance(places) < bound
    assert distance(np.ones(len(states))) > bound


class Preferring(TableLM):
    """A model of four positions and three symbols that prefers symbol 1 at position 2, and symbol 2 at position 0."""

    def __init__(self):
        table = torch.zeros(1, 4, 4**4, 3, dtype=torch.float64)
        table[0, 2, :, 1], table[0, 0, :, 2] = 3.0, 2.0
        super().__init__(table)
        self.mask = 0


def placed(phrases, ordered, fixed=None):
    lm = Preferring()
    held = torch.zeros(1, 4, dtype=torch.long)
    if fixed is not None:
        held[0, fixed] = FIXED
    found = place(lm, torch.zeros(1, 4, dtype=torch.long), held, torch.zeros(1).long(), [phrases], ordered)
    assert int(found.rows) == len(phrases) == lm.rows_asked
    return [held - FIRST_PHRASE for held in found.held[0].tolist()], found.blank[0].tolist()


def test_phrases_start_where_the_model_finds_them_likeliest():
    """The likelier phrase is placed first, and the other one where it has room and keeps the order."""
    assert placed([[1]], False) == ([-2, -2, 0, -2], [0, 0, 1, 0])
    assert placed([[1], [2]], False)[0] == [1, -2, 0, -2]
    assert placed([[1], [2]], True)[0][2] == 0  # the other one must stand after it
    assert placed([[1], [2]], True)[0][3] == 1
    assert placed([[2, 0, 0], [1]], True) == ([0, 0, 0, 1], [2, 0, 0, 1])
    assert placed([[1]], False, fixed=2)[0][2] == -1


def test_places_that_leave_no_room_are_not_taken():
    assert fits([0, 0, FIRST_PHRASE, 0], {1: 2}, ordered=False)
    assert not fits([0, FIRST_PHRASE, 0, 0], {1: 3}, ordered=False)
    assert not fits([0, 0, FIRST_PHRASE + 1, 0], {2: 2}, ordered=True)
    assert fits([0, 0, FIRST_PHRASE + 1, 0], {0: 2}, ordered=True)
    assert fits([FIXED, 0, 0, 0, FIXED], {0: 1, 1: 1, 2: 1}, ordered=True)
    assert not fits([FIXED, 0, FIXED, 0, FIXED], {0: 2}, ordered=False)


def test_an_outline_has_room_for_its_phrases():
    log_p = torch.tensor([-torch.inf, -1.0, -2.0, -3.0])
    outline = Outline([7, OPEN], [[5]])
    assert outline.possible(log_p).tolist() == [-torch.inf, -torch.inf, -2.0, -3.0]
    assert len(outline.of_length(3, np.random.default_rng(1))) == 3
    with pytest.raises(SentenceError, match="4 tokens"):
        Outline([OPEN], [[5, 5], [6, 6]]).possible(log_p)
