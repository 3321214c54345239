"""Experts through `fairseq-generate`: other models whose energies are terms of the sum that the chains sample."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
import torch

from fairseq_mh.engine.causal import CausalEngine
from fairseq_mh.engine.decoder import DecoderEngine
from fairseq_mh.files.checkpoints import load_model
from fairseq_mh.tasks.translation_mh import TranslationMHTask
from fairseq_mh.translation.options.config import TranslationMHConfig
from fairseq_mh.translation.options.energy_sum import parse_energy
from fairseq_mh.translator import Translator
from tests.tiny_cmlm import dictionary_of, generated_here, lines_of, refused, trace_of, write_checkpoint
from tests.translation.products import WEIGHT, check_product, stock_model


@pytest.fixture(scope="module")
def expert(tiny, tmp_path_factory):
    """A tiny random autoregressive model with the dictionary of the tiny CMLM and large logits."""
    path = tmp_path_factory.mktemp("expert") / "teacher.pt"
    write_checkpoint(path, tiny.dictionary, arch="transformer", scale=2.0, share_all_embeddings=True)
    return path


@pytest.fixture(scope="module")
def stock(tiny, expert):
    """Return a function that gives -log p(state | first test source) by fairseq's own decoder, in float64."""
    model, sentences = stock_model(tiny, expert)
    source = sentences[0]["source"]
    eos, bos = tiny.dictionary.eos(), tiny.dictionary.bos()
    source = source[source.ne(bos)][None]  # the CMLM's sources begin with BOS, an autoregressive model's do not

    @torch.no_grad()
    def energy(state) -> float:
        inputs, outputs = torch.tensor([[eos, *state]]), torch.tensor([[*state, eos]])
        logits = model(source, torch.tensor([source.size(1)]), inputs)[0].double()
        return -float(logits.log_softmax(-1).gather(-1, outputs[..., None]).sum())

    return energy


@pytest.mark.usefixtures("large_queries")
@pytest.mark.parametrize("own", ["norm", "two-stream"])
def test_the_chains_sample_the_product_of_two_models(tiny, expert, stock, tmp_path, own):
    check_product(tiny, tmp_path / "trace", own, expert, stock)


@pytest.mark.parametrize("start", ["masked", "mixed"])
@pytest.mark.parametrize("phrases", [False, True])
def test_the_trace_has_the_rows_of_both_models(tiny, expert, tmp_path, monkeypatch, phrases, start):
    """Every row that a decoder computes is counted in the column of its model, also rows that place phrases."""
    counted = Counter()

    def counting(name, bind):
        def bound(*args, **kwargs):
            decode = bind(*args, **kwargs)

            def decode_and_count(inputs, sites, context):
                counted[name] += len(inputs)
                return decode(inputs, sites, context)

            return decode_and_count

        return bound

    monkeypatch.setattr(DecoderEngine, "bind", counting("rows", DecoderEngine.bind))
    monkeypatch.setattr(CausalEngine, "bind", counting("expert_rows", CausalEngine.bind))
    options = ("--mh-energy", f"norm,{expert}", "--mh-sweeps", 3, "--mh-init", start)
    if phrases:
        (tmp_path / "phrases").write_text("a b\tc\n" * 6)
        options += ("--constraints", "unordered", "--mh-phrases", tmp_path / "phrases", "--iter-decode-with-beam", 2)
        options += ("--mh-length-select", "mask-predict")
    records = trace_of(tiny, tmp_path / "trace", *options)
    for name in ("rows", "expert_rows"):
        assert sum(record[name] for record in records) == counted[name] > 0


@pytest.mark.parametrize("own", ["norm", "two-stream"])
def test_a_chain_does_not_depend_on_its_batch(tiny, expert, tmp_path, own):
    options = ("--mh-energy", f"{own},{expert}", "--mh-chains", 2, "--mh-sweeps", 4)
    options += ("--iter-decode-with-beam", 2)

    def states(batch):
        records = trace_of(tiny, tmp_path / "trace", *options, *batch)
        keys = ("id", "length", "chain", "sweep", "tokens", "accepted", "rows", "expert_rows")
        return sorted([record[key] for key in keys] for record in records)

    alone = states(("--batch-size", 1))
    assert len(alone) == 6 * 2 * 2 * 5
    assert states(("--batch-size", 6)) == alone
    assert states(("--max-tokens", 14)) == alone


def test_experts_of_three_kinds_are_terms_of_one_sum(tiny, expert, tmp_path):
    """Another CMLM adds its two-stream energy; the default weight is 1, and a term of weight 0 is not in the sum."""
    other = tmp_path / "other.pt"
    write_checkpoint(other, tiny.dictionary, scale=1.1, share_all_embeddings=True)
    options = ("--mh-energy", f"two-stream,{expert}:2,{other},norm:0", "--mh-sweeps", 2)
    for record in trace_of(tiny, tmp_path / "trace", *options):
        terms = record["energy_two-stream"], record["energy_teacher"], record["energy_other"]
        assert record["energy"] == pytest.approx(terms[0] + 2 * terms[1] + terms[2], abs=1e-9)
        assert terms[2] != pytest.approx(terms[0], abs=1e-3)
        assert record["energy_norm"] == pytest.approx(terms[0], abs=1e-6)  # with a decoder of one layer they are equal


def test_the_score_of_a_hypothesis_is_the_sum_per_token(tiny, expert, tmp_path):
    """The score is made of the weighted sum, not of the first term."""
    trace = tmp_path / "trace"
    options = ("--mh-energy", f"two-stream,{expert}:{WEIGHT}", "--mh-sweeps", 0, "--mh-chains", 1)
    result = generated_here(tiny, *options, "--mh-trace", trace)
    assert result.returncode == 0, result.stderr
    records = {record["id"]: record for record in map(json.loads, trace.read_text().splitlines())}
    for number, (line,) in lines_of(result.stdout, "H").items():
        record = records[number]
        assert float(line.split("\t")[0]) * np.log(2) == pytest.approx(-record["energy"] / record["length"], abs=1e-4)


def is_new(record: dict) -> bool:
    """Tell whether a sweep ends in a state that was not evaluated at the end of the sweep before."""
    return record["sweep"] == 0 or record["novel"] > 0


def test_a_term_may_only_order_the_hypotheses(tiny, expert, tmp_path):
    """The chains are those without the term; the score is that of the sum with the weights after the slash.

    As a control, the term changes the first hypothesis of at least one sentence.
    """
    chains = ("--mh-chains", 3, "--mh-sweeps", 2, "--nbest", 20)
    found = {}
    for energy in ("two-stream", f"two-stream:1/0.5,{expert}:0/{WEIGHT}"):
        trace = tmp_path / f"{len(found)}.jsonl"
        result = generated_here(tiny, *chains, "--mh-energy", energy, "--mh-trace", trace)
        assert result.returncode == 0, result.stderr
        records = [json.loads(line) for line in trace.read_text().splitlines()]
        found[energy] = records, lines_of(result.stdout, "H")
    (plain, alone), (records, ordered) = found.values()
    assert [(one["id"], one["tokens"], one["energy"]) for one in records] == [
        (one["id"], one["tokens"], one["energy"]) for one in plain
    ]
    scores: dict[int, set[float]] = {}
    for one in records:
        total = 0.5 * one["energy_two-stream"] + WEIGHT * one["energy_teacher"]
        scores.setdefault(one["id"], set()).add(round(-total / one["length"], 4))
        assert one["expert_rows"] == is_new(one)
    assert {is_new(one) for one in records} == {True, False}
    for number, lines in ordered.items():
        listed = [float(line.split("\t")[0]) * np.log(2) for line in lines]
        assert listed == sorted(listed, reverse=True)
        assert all(min(abs(score - other) for other in scores[number]) < 2e-4 for score in listed)
        assert listed[0] == pytest.approx(max(scores[number]), abs=2e-4)
    first = [[lines[n][0].split("\t")[1] for n in sorted(lines)] for lines in (alone, ordered)]
    assert first[0] != first[1]


def test_the_order_of_the_terms_changes_nothing(tiny, expert, tmp_path):
    """Informed moves read how certain the CMLM is of each symbol, wherever the expert stands in the sum."""
    terms = "two-stream", f"{expert}:{WEIGHT}"
    first, second = (trace_of(tiny, tmp_path / "trace", "--mh-energy", ",".join(o)) for o in (terms, terms[::-1]))
    assert [record["tokens"] for record in first] == [record["tokens"] for record in second]


def test_with_limits_of_an_expert_a_text_that_is_too_long_says_so(tiny, tmp_path):
    """The given parts fit the CMLM, and not the expert."""
    short = tmp_path / "short.pt"
    write_checkpoint(short, tiny.dictionary, arch="transformer", max_target_positions=5)
    translator = Translator.load(
        tiny.folder, source_lang="de", target_lang="en", energy=f"two-stream,{short}", sweeps=1
    )
    (found,) = translator.decode(["a b"], template="a b c a b c {}")
    assert found.untranslated == "the given parts have 6 tokens; the model's targets have 1 to 4"


def test_an_expert_is_loaded_in_a_training_that_validates_by_bleu(tiny, expert):
    """fairseq builds a generator with every model that it builds in such a training."""
    task = TranslationMHTask(TranslationMHConfig(eval_bleu=True), tiny.dictionary, tiny.dictionary)
    assert type(load_model(expert, task=task)[0]).__name__ == "TransformerModel"


def bad_experts(tiny, tmp_path):
    foreign = tmp_path / "foreign.pt"
    write_checkpoint(foreign, dictionary_of("abcdefghijklmnop"), arch="transformer")
    nonsense = tmp_path / "nonsense.pt"
    nonsense.write_text("no checkpoint")
    scaled = tmp_path / "scaled.pt"
    write_checkpoint(scaled, tiny.dictionary, scale_heads=True)
    levenshtein = tmp_path / "levenshtein.pt"
    write_checkpoint(levenshtein, tiny.dictionary, arch="nonautoregressive_transformer")
    return {
        "another dictionary": (foreign, "foreign.pt"),
        "no checkpoint": (nonsense, "nonsense.pt"),
        "not an expert": (levenshtein, "NATransformerModel"),
        "a CMLM without two streams": (scaled, "two streams need a plain decoder; this model has scaled"),
        "no file": (tmp_path / "missing.pt", "missing.pt"),
    }


BAD = ["another dictionary", "no checkpoint", "not an expert", "a CMLM without two streams", "no file"]


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_is_not_an_expert_is_refused_in_one_line(tiny, tmp_path, kind):
    path, named = bad_experts(tiny, tmp_path)[kind]
    line = refused(generated_here(tiny, "--mh-energy", f"two-stream,{path}"))
    assert named in line


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("x.pt:heavy", "heavy"),
        ("x.pt:0", "above 0"),
        ("norm,x.pt:-1", "at least 0"),
        ("x.pt:nan", "at least 0"),
        (",", "no energy ''"),
        ("nrom,x.pt", "did you mean norm"),
        ("norm,norm", "twice"),
        ("norm:1/0", "above 0"),
        ("norm:0/1", "above 0"),
        ("norm:1/-1", "at least 0"),
        ("norm:1/2/3", "'1/2/3'"),
        ("norm:1/", "'1/'"),
        ("norm:/2", "'/2'"),
    ],
)
def test_invalid_weights_and_terms_are_refused(tiny, given, said):
    assert said in refused(generated_here(tiny, "--mh-energy", given))


@pytest.mark.parametrize("decoding", ["gibbs", "mask-predict"])
def test_decoders_without_acceptance_are_scored_by_the_sum(tiny, expert, stock, tmp_path, decoding):
    """Energies are those of the traced states; expert rows count only for degenerate Gibbs, not mask-predict."""
    options = ("--mh-decoding", decoding, "--mh-energy", f"norm,{expert}:{WEIGHT}", "--gen-subset", "one")
    records = trace_of(tiny, tmp_path / "trace", *options, "--mh-sweeps", 2)
    for record in records:
        assert record["energy_teacher"] == pytest.approx(stock(record["tokens"]), abs=1e-5)
        total = record["energy_norm"] + WEIGHT * record["energy_teacher"]
        assert record["energy"] == pytest.approx(total, abs=1e-6)
        assert (record["expert_rows"] > 0) == (decoding == "gibbs" and is_new(record))


def test_a_source_too_long_for_the_expert_stays_untranslated(tiny, tmp_path):
    """Only its own sentence gets an empty hypothesis; the others are translated."""
    short = tmp_path / "short.pt"
    write_checkpoint(short, tiny.dictionary, arch="transformer", max_source_positions=5)
    for size in (6, 1):
        result = generated_here(tiny, "--mh-energy", f"two-stream,{short}", "--mh-sweeps", 1, "--batch-size", size)
        assert result.returncode == 0, result.stderr
        texts = {number: found[0] for number, found in lines_of(result.stdout, "D").items()}
        assert len(texts) == 6
        assert [number for number, text in texts.items() if text.startswith("-inf")] == [2]


def test_names_of_files_may_hold_commas_and_colons(tiny, expert, tmp_path):
    """So may the names of the checkpoint and of the data folder, which fairseq splits at colons."""
    odd = tiny._replace(folder=tmp_path / "a:b,c")
    shutil.copytree(tiny.folder, odd.folder)
    path, energies = odd.folder / "d:e.pt", odd.folder / "x,y:0.5"
    shutil.copy(expert, energies)
    shutil.copy(odd.folder / "checkpoint.pt", path)
    options = ("--gen-subset", "one", "--mh-sweeps", 1, "--mh-energy", f"two-stream,{energies}:0.7,norm:0")
    found = generated_here(odd, *options, checkpoint=path)
    expected = generated_here(tiny, *options[:-1], f"two-stream,{expert}:0.7,norm:0")
    assert found.returncode == 0, found.stderr
    assert lines_of(found.stdout, "D") == lines_of(expected.stdout, "D")
    assert [one[1:3] for one in parse_energy(f"{energies},norm:0")] == [(str(energies), 1.0), (None, 0.0)]
