"""The Python API gives the translations of `fairseq-generate`, and refuses invalid input."""

import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import fairseq_mh
from fairseq_mh import Translator
from fairseq_mh.errors import UserError
from fairseq_mh.translation.chains import mask_predict
from fairseq_mh.translation.generator import MHGenerator
from fairseq_mh.translation.given.outline import Outline
from fairseq_mh.translation.results import PassRecord, SweepRecord
from fairseq_mh.translator import Found
from tests.tiny_cmlm import generate, lines_of, write_checkpoint

TEXTS = ["a b c a", "b b", "c a b b a c", "a", "a c b", "b c a"]  # the sources of the test set
OPTIONS = {"source_lang": "de", "target_lang": "en", "sweeps": 3, "chains": 2}
RUN = ("--gen-subset", "test", "--mh-sweeps", "3", "--mh-chains", "2")


@pytest.fixture(scope="module")
def translator(tiny):
    return Translator.load(tiny.folder, **OPTIONS)


def test_translations_are_those_of_fairseq_generate(tiny, translator, capsys, tmp_path):
    generate(tiny, *RUN, "--nbest", 2, "--mh-trace", tmp_path / "trace", double=False)
    expected = lines_of(capsys.readouterr().out, "D")
    found = translator.decode(TEXTS, nbest=2)
    for number, result in enumerate(found):
        assert result.source == TEXTS[number]
        assert [one.text for one in result.translations] == [line.split("\t")[1] for line in expected[number]]
    assert translator.translate(TEXTS) == [result.translations[0].text for result in found]
    records = [json.loads(line) for line in (tmp_path / "trace").read_text().splitlines()]
    mine = [record for result in found for record in result.trace]
    key = ("id", "length", "chain", "sweep")
    for one, other in zip(sorted(mine, key=lambda r: [r[k] for k in key]), records_in_order(records, key), strict=True):
        assert one.keys() == other.keys()
        assert one["tokens"] == other["tokens"]
        assert one["rows"] == other["rows"]
    assert [result.rows for result in found] == [sum(record["rows"] for record in r.trace) for r in found]


def records_in_order(records, key):
    return sorted(records, key=lambda record: [record[name] for name in key])


def test_the_fields_of_a_translation_agree(translator):
    (result,) = translator.decode(["a b c a"], nbest=3)
    scores = [found.score for found in result.translations]
    assert scores == sorted(scores, reverse=True)
    for found in result.translations:
        assert found.length == len(found.tokens) == len(found.token_log_probs) == len(found.text.split())
        assert found.score == pytest.approx(-found.energy / found.length, rel=1e-5)
        assert found.energy == pytest.approx(-float(found.token_log_probs.sum()), rel=1e-5)
        assert found.energies == {"two-stream": pytest.approx(found.energy)}


def test_options_of_one_call_do_not_change_later_calls(translator):
    before = translator.translate(TEXTS)
    lengths = translator.decode(TEXTS, iter_decode_with_beam=3, decoding="mask-predict", chains=1, nbest=5)
    assert any(len({found.length for found in result.translations}) > 1 for result in lengths)
    own = translator.task.cfg
    with pytest.raises(UserError):
        translator.decode(TEXTS, chains=0)
    assert translator.task.cfg is own
    assert translator.translate(TEXTS) == before


def test_numbers_decide_the_randomness(translator):
    """A line with the same number has the same translation, alone or with other lines."""
    together = translator.decode(TEXTS)
    alone = translator.decode(TEXTS[2:3], numbers=[2])
    assert alone[0].translations[0].text == together[2].translations[0].text
    assert [r["tokens"] for r in alone[0].trace] == [r["tokens"] for r in together[2].trace]


def test_texts_that_cannot_be_translated_tell_the_reason(translator):
    found = translator.decode(["a b", "", "a " * 30, "b"])
    assert [result.untranslated for result in found] == [
        None,
        "empty",
        "too long: 32 symbols; the model reads 12",
        None,
    ]
    assert translator.translate(["", "a"])[0] == ""


@pytest.mark.parametrize("texts", ["a b", [None], [b"a"]], ids=str)
def test_one_text_is_no_list_of_texts(translator, texts):
    """A string would otherwise be translated letter by letter."""
    for method in (translator.translate, translator.decode, translator.sample):
        with pytest.raises(UserError, match="texts must be a list of texts"):
            method(texts)


def test_sweeps_are_counted_when_they_end(translator):
    ended = [event for event in translator.watch(TEXTS) if isinstance(event, SweepRecord)]
    assert sum(event.sweep > 0 for event in ended) == 6 * 2 * 3
    assert {event.total for event in ended} == {36}


def test_a_result_comes_when_its_batch_is_decoded(translator):
    """A batch's results come before the next batch's sweeps, and texts without a translation come first."""
    events = list(translator.watch(["a", "", "b b b"], batch_size=1))
    places = [event.place for event in events if isinstance(event, Found)]
    assert places == [1, 0, 2]
    second = next(n for n, event in enumerate(events) if isinstance(event, SweepRecord) and event.record["id"] == 2)
    assert [event.place for event in events[:second] if isinstance(event, Found)] == [1, 0]


@pytest.mark.parametrize(("option", "meant"), [("sweep", "sweeps"), ("mh_sweeps", "sweeps"), ("seeds", "seed")])
def test_unknown_options_are_refused(tiny, option, meant):
    with pytest.raises(UserError, match=f"no option {option}; did you mean {meant}"):
        Translator.load(tiny.folder, **{option: 3})


def test_loading_leaves_the_callers_report_of_errors_as_it_was(tiny, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", lambda *error: None)
    own = sys.excepthook
    Translator.load(tiny.folder, source_lang="de", target_lang="en")
    with pytest.raises(UserError):
        Translator.load(tiny.folder, source_lang="de", target_lang="en", seed=-1)
    assert sys.excepthook is own


def test_the_package_imports_nothing_heavy():
    assert fairseq_mh.__version__
    with pytest.raises(AttributeError):
        fairseq_mh.Traslator  # noqa: B018


@pytest.mark.parametrize("name", ["fairseq_mh.translator", "fairseq_mh.tasks.translation_mh"])
def test_an_import_prints_nothing_and_leaves_logging_as_it_was(name):
    """Nor does it import large libraries, which fairseq's criteria still find when they call them."""
    code = f"""
import logging, sys, fairseq_mh, {name}
assert not logging.root.handlers and logging.root.level == 30
loaded = {{"sklearn", "scipy", "pandas", "transformers", "polars"}} & sys.modules.keys()
assert not loaded, loaded
from fairseq.criterions import CRITERION_REGISTRY, sentence_prediction
from fairseq.tasks import TASK_REGISTRY, audio_classification
assert "sentence_prediction" in CRITERION_REGISTRY and "audio_classification" in TASK_REGISTRY
if {name.endswith("translator")}:
    import numpy
    labels = numpy.array([0, 1, 1])
    assert sentence_prediction.acc_and_f1(labels, labels)["f1"] == 1
    assert audio_classification.sklearn_metrics.roc_curve(labels, labels)
    from sklearn.metrics import f1_score
    assert f1_score.__module__.startswith("sklearn.")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_n_best_translations_have_distinct_texts(translator, monkeypatch):
    """Different tokens can have the same text; here the text is the number of tokens."""
    monkeypatch.setattr(MHGenerator, "_text", lambda generator, found: str(len(found.tokens)))
    found = translator.decode(TEXTS, nbest=4, iter_decode_with_beam=3)
    for result in found:
        lengths = [one.length for one in result.translations]
        assert len(set(lengths)) == len(lengths) > 1


@pytest.mark.parametrize("decoding", ["mh", "gibbs", "mask-predict"])
def test_a_template_is_in_every_translation(translator, decoding):
    """Its words keep their places, with one template for all texts or one for each text."""
    options = {"decoding": decoding, "chains": 1, "sweeps": 2, "nbest": 5, "iter_decode_with_beam": 3}
    for result in translator.decode(TEXTS, template="b {2} c", **options):
        assert {(found.length, *found.text.split()[::3]) for found in result.translations} == {(4, "b", "c")}
    lines = ["{} a", "c {}", Outline([translator.task.target_dictionary.index("b")]), "{1} c {}", "a {} b {} c", "{}"]
    found = [result.translations for result in translator.decode(TEXTS, template=lines, **options)]
    texts = [[one.text for one in translations] for translations in found]
    assert all(text.endswith("a") for text in texts[0])
    assert all(text.startswith("c") for text in texts[1])
    assert texts[2] == ["b"]
    assert all(text.split()[1] == "c" for text in texts[3])
    for text in texts[4]:
        words = text.split()
        assert (words[0], words[-1]) == ("a", "c")
        assert "b" in words[1:-1]
    assert len({one.length for one in found[4]}) > 1


def test_invalid_templates_are_refused(tiny, translator):
    with pytest.raises(UserError, match="templates for 6 texts"):
        translator.decode(TEXTS, template=["a {}"])
    with pytest.raises(UserError, match="no symbols for 'x'"):
        translator.decode(TEXTS, template="x {}")
    scorer = Translator(str(tiny.folder), ["--source-lang", "de", "--target-lang", "en", "--score-reference"])
    with pytest.raises(UserError, match="cannot be combined"):
        scorer.decode(["a"], template="a {}")
    with pytest.raises(UserError, match="need references"):
        scorer.decode(["a"])
    (result,) = translator.decode(["a"], template="<pad> {}")
    assert "the model does not generate" in result.untranslated
    (result,) = translator.decode(["a"], template=" ".join("abcabcabcabcabc") + "{}")
    assert "tokens" in result.untranslated


def by_sweep(records):
    return sorted(records, key=lambda record: [record[name] for name in ("id", "length", "chain", "sweep")])


@pytest.mark.parametrize(
    "options",
    [
        {"decoding": "mh"},
        {"decoding": "gibbs"},
        {"decoding": "mh", "init": "mask-predict"},
        {"decoding": "mh", "length_select": "mask-predict", "init": "mask-predict"},
    ],
)
def test_the_trace_is_yielded_while_it_is_made(translator, options):
    """All of the trace is yielded, with the decoder rows of the start."""
    events = list(translator.watch(TEXTS, iter_decode_with_beam=2, **options))
    seen = [event for event in events if isinstance(event, SweepRecord)]
    results = [event.result for event in events if isinstance(event, Found)]
    assert by_sweep(one.record for one in seen) == by_sweep(record for result in results for record in result.trace)
    for record, own in ((one.record, one.token_log_probs) for one in seen):
        assert len(own) == record["length"]
        assert -float(own.sum()) == pytest.approx(record["energy"], rel=1e-5)


@pytest.mark.parametrize("energy", ["two-stream", "norm"])
def test_mask_predict_is_evaluated_and_traced(translator, energy):
    (result,) = translator.decode(TEXTS[:1], decoding="mask-predict", chains=1, energy=energy)
    (record,), (best,) = result.trace, result.translations
    assert record["tokens"] == best.tokens.tolist()
    assert record["energy"] == best.energy == best.energies[energy] > 0
    assert record["rows"] == result.rows  # mask-predict's cost does not include the evaluation
    again = translator.decode(TEXTS[:1], init="mask-predict", chains=1, sweeps=0, energy=energy)[0].translations[0]
    assert again.tokens.equal(best.tokens)
    assert again.energy == pytest.approx(best.energy)


def test_passes_of_mask_predict_are_yielded_when_they_end(translator, monkeypatch):
    """Each filling and each masking is yielded before the next pass starts."""
    shown, passes = [], []
    fill = mask_predict._fill
    monkeypatch.setattr(mask_predict, "_fill", lambda *given: passes.append(len(shown)) or fill(*given))
    options = {"decoding": "mask-predict", "chains": 1, "iter_decode_with_beam": 2, "iter_decode_max_iter": 2}
    results = []
    for event in translator.watch(TEXTS, **options):
        if isinstance(event, PassRecord):
            shown.append(event)
        elif isinstance(event, Found):
            results.append((event.place, event.result))
    chains = len(shown) // 6  # each is shown masked, after each of three fillings, and after two maskings
    assert passes == [chains, 3 * chains, 5 * chains]
    for number, result in results:
        best = result.translations[0]
        own = [event for event in shown if event[:3] == (number, best.length, 0)]
        assert [bool(event.masked.any()) for event in own] == [True, False] * 3
        assert own[0].masked.all()
        assert own[-1].tokens.tolist() == best.tokens.tolist()


def test_only_mask_predict_yields_passes(translator):
    assert not any(isinstance(event, PassRecord) for event in translator.watch(TEXTS, init="mask-predict"))


def test_leaving_the_loop_ends_the_decoding(translator, monkeypatch):
    begun = []
    events = MHGenerator.events
    monkeypatch.setattr(MHGenerator, "events", lambda *given: begun.append(1) or events(*given))
    for event in translator.watch(TEXTS, batch_size=1):
        if isinstance(event, SweepRecord):
            break
    assert len(begun) == 1
    assert translator.translate(TEXTS[:1])


def test_checkpoints_of_the_energy_are_read_once(tiny, tmp_path, monkeypatch):
    """They are read once for any number of calls and options; all calls write one trace file."""
    write_checkpoint(tmp_path / "teacher.pt", tiny.dictionary, arch="transformer", share_all_embeddings=True)
    trace, read = tmp_path / "trace", []
    translator = Translator.load(tiny.folder, **OPTIONS, trace=trace)
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *given, **more: read.append(given[0]) or load(*given, **more))
    energy = f"two-stream,{tmp_path / 'teacher.pt'}:0.5"
    for seed, nbest in ((1, 1), (1, 1), (2, 1), (1, 2)):
        translator.decode(TEXTS[:2], energy=energy, seed=seed, nbest=nbest)
    assert len(read) == 1
    assert len(trace.read_text().splitlines()) == 4 * 2 * 2 * 4


@pytest.mark.parametrize("energy", ["norm", "raw", "two-stream"])
def test_alternatives_are_the_masked_conditional_and_their_energies(translator, energy):
    (best,) = translator.decode(["a b c a"], energy=energy)[0].translations
    found = translator.alternatives("a b c a", best.tokens, 0, count=2, energy=energy)
    assert sum(math.exp(one.log_prob) for one in found) <= 1 + 1e-6
    assert [one.log_prob for one in found[:2]] == sorted((one.log_prob for one in found[:2]), reverse=True)
    (same,) = [one for one in found if one.token == best.tokens[0]]
    assert same.energy == pytest.approx(best.energy, rel=1e-5)
    shares = translator.log_probs("a b c a", [one.tokens for one in found])
    assert [float(share[0]) for share in shares] == pytest.approx([one.log_prob for one in found], abs=1e-5)
    if energy == "norm":
        assert shares[found.index(same)].tolist() == pytest.approx(same.token_log_probs.tolist(), abs=1e-5)
    for one in found:
        assert one.tokens[1:].equal(best.tokens[1:])
        again = translator.alternatives("a b c a", one.tokens, 0, count=1, energy=energy)
        assert [other.energy for other in again if other.token == one.token] == pytest.approx([one.energy])
        assert [other.log_prob for other in again if other.token == one.token] == pytest.approx([one.log_prob])


@pytest.mark.parametrize(
    ("text", "tokens", "position", "message"),
    [
        ("", [4], 0, "the source is empty"),
        ("a", [4], 1, "no position 1"),
        ("a", [4], -1, "no position -1"),
        ("a", [0], 0, "does not generate"),
        ("a", [-1], 0, "does not generate"),
        ("a", [4000], 0, "does not generate"),
        ("a", [], 0, "0 tokens"),
    ],
)
def test_alternatives_of_invalid_translations_are_refused(translator, text, tokens, position, message):
    with pytest.raises(UserError, match=message):
        translator.alternatives(text, torch.tensor(tokens, dtype=torch.long), position)


def test_threads_have_options_of_their_own(translator):
    seeds = range(4)
    expected = [translator.translate(TEXTS, seed=seed) for seed in seeds]
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(translator.translate, TEXTS, seed=seed) for seed in seeds]
    assert [job.result() for job in jobs] == expected


def test_numbers_must_be_one_for_each_text(translator):
    with pytest.raises(UserError, match="1 numbers for 2 texts"):
        translator.decode(["a", "b"], numbers=[3])
    with pytest.raises(UserError, match="must not be negative"):
        translator.decode(["a", "b"], numbers=[3, -1])


@pytest.mark.parametrize(("name", "value"), [("path", "other.pt"), ("cpu", True), ("model_overrides", "{}")])
def test_options_of_the_model_are_refused_in_a_call(translator, name, value):
    with pytest.raises(UserError, match=r"give it to Translator\.load"):
        translator.translate(["a"], **{name: value})
