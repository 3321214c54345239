"""An autoregressive model of the other direction as a term of the energy, through `fairseq-generate`."""

import json
from argparse import Namespace

import pytest
import torch

from fairseq_mh.energies.autoregressive import Autoregressive
from fairseq_mh.energies.noisy_channel import NoisyChannel
from fairseq_mh.errors import UserError
from fairseq_mh.masked_lms.cmlm import CMLM
from fairseq_mh.tasks.translation_mh import TranslationMHTask
from fairseq_mh.translation.options.config import TranslationMHConfig
from fairseq_mh.translation.options.energy_sum import parse_energy
from tests.tiny_cmlm import dictionary_of, generated_here, lines_of, model_of, refused, trace_of, write_checkpoint
from tests.translation.products import WEIGHT, check_product, stock_model

REVERSED = {"source_lang": "en", "target_lang": "de"}


@pytest.fixture(scope="module")
def reverse(tiny, tmp_path_factory):
    """A tiny random autoregressive model from targets to sources, with large logits."""
    path = tmp_path_factory.mktemp("reverse") / "reverse.pt"
    write_checkpoint(path, tiny.dictionary, arch="transformer", scale=2.0, share_all_embeddings=True, **REVERSED)
    return path


@pytest.fixture(scope="module")
def channel(tiny, reverse):
    """Return a function that gives -log p(n-th test source | target): one target at a time, without padding."""
    model, sentences = stock_model(tiny, reverse)
    eos, bos = tiny.dictionary.eos(), tiny.dictionary.bos()

    @torch.no_grad()
    def energy(target, number=0) -> float:
        source = sentences[number]["source"]
        source = [symbol for symbol in source.tolist() if symbol not in (bos, eos)]
        read, written = torch.tensor([[*target, eos]]), torch.tensor([[eos, *source]])
        log_p = model(read, torch.tensor([read.size(1)]), written)[0].double().log_softmax(-1)[0]
        return -sum(float(log_p[place, symbol]) for place, symbol in enumerate([*source, eos]))

    return energy


def test_its_energies_are_those_of_the_stock_model(tiny, reverse, channel, tmp_path):
    """For sources and targets of several lengths in one batch; the sum of both terms is the energy."""
    options = ("--mh-energy", f"two-stream,{reverse}:{WEIGHT}", "--mh-sweeps", 2, "--iter-decode-with-beam", 4)
    records = trace_of(tiny, tmp_path / "trace", *options)
    assert len({record["id"] for record in records}) == 6
    assert len({record["length"] for record in records}) > 2
    for record in records:
        expected = channel(record["tokens"], record["id"])
        assert record["energy_reverse"] == pytest.approx(expected, abs=1e-5)
        total = record["energy_two-stream"] + WEIGHT * record["energy_reverse"]
        assert record["energy"] == pytest.approx(total, abs=1e-6)


def test_the_languages_of_the_checkpoint_decide_the_direction(tiny, reverse, channel, tmp_path):
    """The same weights in the direction of the task are an expert of targets, with other energies and rows."""
    forward = tmp_path / "forward.pt"
    write_checkpoint(forward, tiny.dictionary, arch="transformer", scale=2.0, share_all_embeddings=True)
    energy = f"two-stream,{reverse}:0,{forward}:0"
    records = trace_of(tiny, tmp_path / "trace", "--mh-energy", energy, "--mh-sweeps", 0)
    assert all(record["expert_rows"] == 2 + 1 for record in records)
    differences = [record["energy_reverse"] - record["energy_forward"] for record in records]
    assert max(map(abs, differences)) > 0.1
    assert records[0]["energy_reverse"] == pytest.approx(channel(records[0]["tokens"], records[0]["id"]), abs=1e-5)


@pytest.mark.usefixtures("large_queries")
def test_the_chains_sample_the_product_of_both_models(tiny, reverse, channel, tmp_path):
    check_product(tiny, tmp_path / "trace", "two-stream", reverse, channel)


def test_translations_do_not_depend_on_the_batch(tiny, reverse):
    found = []
    for size in (1, 4):
        result = generated_here(tiny, "--mh-energy", f"two-stream,{reverse}:0/{WEIGHT}", "--batch-size", size)
        assert result.returncode == 0, result.stderr
        found.append({number: lines[0].split("\t")[1] for number, lines in lines_of(result.stdout, "H").items()})
    assert found[0] == found[1]


def test_its_limits_are_those_of_what_it_reads_and_writes(tiny, tmp_path):
    """It writes sources with EOS and reads targets with EOS: 5 positions leave out a source of 6 symbols."""
    short = tmp_path / "short.pt"
    write_checkpoint(short, tiny.dictionary, arch="transformer", max_target_positions=5, **REVERSED)
    result = generated_here(tiny, "--mh-energy", f"two-stream,{short}", "--mh-sweeps", 1)
    assert result.returncode == 0, result.stderr
    texts = {number: found[0] for number, found in lines_of(result.stdout, "D").items()}
    assert [number for number, text in texts.items() if text.startswith("-inf")] == [2]
    reads = tmp_path / "reads.pt"
    write_checkpoint(reads, tiny.dictionary, arch="transformer", max_source_positions=4, **REVERSED)
    records = trace_of(tiny, tmp_path / "trace", "--mh-energy", f"two-stream,{reads}", "--mh-sweeps", 1)
    assert max(record["length"] for record in records) == 3


@pytest.mark.parametrize(("languages", "warned"), [("de en", False), ("en de", False), ("de fr", True)])
def test_other_languages_are_warned_of(languages, warned, caplog):
    task = TranslationMHTask(TranslationMHConfig(data="", source_lang="de", target_lang="en"), *[dictionary_of()] * 2)
    source, target = languages.split()
    task._in_direction_of("ar.pt", Namespace(task=Namespace(source_lang=source, target_lang=target)))
    said = ["ar.pt was trained from de to fr and is used from de to en"]
    assert [record.getMessage() for record in caplog.records] == said * warned


def test_the_dictionaries_are_exchanged(tmp_path):
    """With dictionaries of different sizes, the reverse model's encoder has the embeddings of the targets."""
    source, target = dictionary_of("abcdefghijklm"), dictionary_of()
    cfg = TranslationMHConfig(data="", source_lang="de", target_lang="en")
    task = TranslationMHTask(cfg, source, target)
    for languages, sizes in ((("en", "de"), (len(target), len(source))), (("de", "en"), (len(source), len(target)))):
        trained = Namespace(task=Namespace(source_lang=languages[0], target_lang=languages[1]))
        directed = task._in_direction_of("ar.pt", trained)
        assert (directed is task) == (languages == ("de", "en"))
        assert (len(directed.source_dictionary), len(directed.target_dictionary)) == sizes
    assert (len(task.source_dictionary), len(task.target_dictionary)) == (len(source), len(target))


@pytest.mark.parametrize("kind", [Autoregressive, NoisyChannel])
def test_a_model_without_the_logits_of_all_symbols_is_refused(tiny, kind):
    model = model_of(tiny.dictionary, arch="transformer", adaptive_softmax_cutoff="4")
    with pytest.raises(UserError, match="adaptive-softmax"):
        kind(model, tiny.dictionary, CMLM(model_of(tiny.dictionary), tiny.dictionary))


def test_another_kind_of_model_of_that_direction_is_refused(tiny, tmp_path):
    path = tmp_path / "other.pt"
    write_checkpoint(path, tiny.dictionary, share_all_embeddings=True, **REVERSED)
    said = refused(generated_here(tiny, "--mh-energy", f"two-stream,{path}"))
    assert "translates targets into sources" in said
    assert "CMLMNATransformerModel" in said


def test_its_column_is_named_by_its_file(tiny, reverse, tmp_path):
    assert [one.name for one in parse_energy(f"two-stream,{reverse}:0/0.5")] == ["two-stream", "reverse"]
    trace = tmp_path / "trace"
    result = generated_here(tiny, "--mh-energy", f"two-stream,{reverse}:0/0.5", "--mh-trace", trace)
    assert result.returncode == 0, result.stderr
    assert "energy_reverse" in json.loads(trace.read_text().splitlines()[0])
