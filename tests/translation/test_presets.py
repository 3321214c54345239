"""A preset sets its options, and options that the user gives override it."""

import pytest

from fairseq_mh import Translator
from fairseq_mh.errors import UserError
from fairseq_mh.loading import parse_generate_options
from fairseq_mh.translation.options.presets import PRESETS, with_preset
from tests.tiny_cmlm import trace_of

LANGUAGES = ("--source-lang", "de", "--target-lang", "en")


def test_the_users_options_come_last():
    assert with_preset(["data", "--mh-sweeps", "9"]) == ["data", "--mh-sweeps", "9"]
    assert with_preset(["data", "--mh-preset=paper"]) == [*PRESETS["paper"], "data", "--mh-preset=paper"]
    with pytest.raises(UserError, match="did you mean paper"):
        with_preset(["--mh-preset", "papier"])


@pytest.mark.parametrize("name", PRESETS)
def test_presets_set_options_that_are_not_given(tiny, name):
    data = str(tiny.folder)
    preset = parse_generate_options(data, [*LANGUAGES, "--mh-preset", name, "--mh-nucleus", "0.9"])
    explicit = parse_generate_options(data, [*LANGUAGES, *PRESETS[name], "--mh-nucleus", "0.9"])
    assert preset.task.mh_preset == name
    preset.task.mh_preset = explicit.task.mh_preset
    assert preset.task == explicit.task
    assert preset.generation == explicit.generation
    for option, before_or_behind in (("--mh-sweeps", slice(0, 0)), ("--mh-sweeps", slice(9, 9))):
        arguments = [*LANGUAGES, "--mh-preset", name]
        arguments[before_or_behind] = [option, "6"]  # even the default value
        assert parse_generate_options(data, arguments).task.mh_sweeps == 6


def test_fairseq_generate_knows_them(tiny, tmp_path):
    run = ("--gen-subset", "one", "--mh-sweeps", 4, "--mh-burn-in", 1)
    preset = trace_of(tiny, tmp_path / "preset", *run, "--mh-preset", "sample")
    explicit = trace_of(tiny, tmp_path / "explicit", *PRESETS["sample"], *run)
    assert preset == explicit
    assert {record["temperature"] for record in preset} == {1.0}
    assert len({record["sweep"] for record in preset}) == 5


def test_rerank_orders_the_translations_of_mask_predict_by_their_energy(tiny):
    """It runs no chain, so that it costs two rows a translation more than mask-predict.

    Energies per token compare the lengths here, instead of the length model.
    """
    lengths = {"iter_decode_with_beam": 5, "iter_decode_max_iter": 9, "nbest": 5}
    lengths |= {"length_select": "token-mean", "length_reward": 0.0}
    translator = Translator.load(tiny.folder, source_lang="de", target_lang="en", **lengths)
    (heuristic,) = translator.decode(["abcab"], decoding="mask-predict", energy="two-stream")
    (reranked,) = translator.decode(["abcab"], preset="rerank")
    by_energy = sorted(heuristic.translations, key=lambda found: found.energy / len(found.tokens))
    assert len(by_energy) == 5
    assert [found.text for found in reranked.translations] == [found.text for found in by_energy]
    assert reranked.translations[0].text != heuristic.translations[0].text  # the orders differ for this sentence
    assert reranked.rows == heuristic.rows + 2 * 5
