"""Tests of the whole product on the pretend device: chains equal those of the CPU, and no tensor is misplaced."""

import json

import pytest

from benchmarks.pretend_device import PretendDevice
from benchmarks.pretend_tensor import PretendTensor
from fairseq_mh.cli.main import main
from fairseq_mh.corpus.sources import scan
from fairseq_mh.corpus.worker import Job, worker
from fairseq_mh.errors import UserError
from fairseq_mh.mcmc.chain import finish
from fairseq_mh.translator import Translator
from tests.corpus.test_translate_corpus import RUN, write_corpus
from tests.tiny_cmlm import generated_here, lines_of, trace_of

TEXTS = ["a b c a", "b b"]
LENGTHS = {"iter_decode_with_beam": 2}
DECODERS = {
    "default": LENGTHS,
    "single, random": {"block_size": 1, "scan": "random"},
    "single, informed": {"block_size": 1},
    "blocks, sequential": {"scan": "sequential", "block_size": 2},
    "nucleus": {"nucleus": 0.9},
    "raw": {"energy": "raw"},
    "norm": {"energy": "norm"},
    "two-stream": {"energy": "two-stream"},
    "electric": {"energy": "ELECTRIC"},
    "experts": {"energy": "two-stream,TEACHER:0.7,CMLM:0.5,ELECTRIC"},
    "noisy channel": {"energy": "two-stream,REVERSE:0.7"},
    "noisy channel, only for the order": {"energy": "two-stream,REVERSE:0/0.7"},
    "norm and two-stream": {"energy": "norm:0.5,two-stream"},
    "norm and teacher": {"energy": "norm,TEACHER:0.5", "block_size": 1},
    "two-stream, others reported": {"energy": "two-stream,norm:0,ELECTRIC:0"},
    "warm start": {"init": "warm-start"},
    "random start": {"init": "random"},
    "mask-predict start": {"init": "mask-predict", "length_select": "mask-predict", **LENGTHS},
    "mixed start, mbr": {"init": "mixed", "select": "mbr", "nbest": 2, **LENGTHS},
    "last": {"select": "last", "length_select": "length-model", **LENGTHS},
    "fast": {"preset": "fast"},
    "template": {"template": "a {2} b"},
    "phrases": {"constraints": "ordered"},
    "gibbs": {"decoding": "gibbs"},
    "mask-predict": {"decoding": "mask-predict", "chains": 1},
}
COMMANDS = {
    "default": (),
    "reference": ("--mh-init", "reference"),
    "prefix": ("--prefix-size", 1),
    "reranked": ("--path", "CMLM:TEACHER", "--iter-decode-with-external-reranker"),
    "history": ("--retain-iter-history", "--mh-gold-length", "--mh-decoding", "mask-predict", "--mh-chains", 1),
}


@pytest.fixture(scope="module")
def translators(tiny):
    """Load a translator on the CPU and one on the pretend device, in float64, so that rounding decides nothing."""
    on_cpu = Translator(str(tiny.folder), RUN)
    with PretendDevice():
        on_device = Translator(str(tiny.folder), RUN)
        on_device.model.double()
    on_cpu.model.double()
    return on_cpu, on_device


@pytest.mark.parametrize("name", DECODERS)
def test_chains_equal_those_of_the_cpu(translators, others, name):
    options = {"sweeps": 2, "chains": 2, **DECODERS[name]}
    for kind, path in vars(others).items():
        options = {key: str(value).replace(kind.upper(), str(path)) for key, value in options.items()}
    on_cpu, on_device = translators
    phrases = [["a b", "c"]] * len(TEXTS) if name == "phrases" else None
    expected = on_cpu.decode(TEXTS, phrases=phrases, **options)
    with PretendDevice():
        found = on_device.decode(TEXTS, phrases=phrases, **options)
    for result, other in zip(found, expected, strict=True):
        check_same(result.trace, other.trace)
        assert result.translations
        assert [one.text for one in result.translations] == [one.text for one in other.translations]


@pytest.mark.parametrize("name", COMMANDS)
def test_chains_of_fairseq_generate_equal_those_of_the_cpu(tiny, others, tmp_path, name):
    options = ("--gen-subset", "few", "--mh-sweeps", 2, "--mh-chains", 2, *COMMANDS[name])
    options = [str(one).replace("CMLM", str(others.cmlm)).replace("TEACHER", str(others.teacher)) for one in options]
    with PretendDevice():
        found = trace_of(tiny, tmp_path / "device", *options)
    check_same(found, trace_of(tiny, tmp_path / "cpu", *options))


def check_same(found, expected):
    """Check that both traces have the same records, except for rounding."""
    assert len(found) == len(expected)
    for record, other in zip(found, expected, strict=True):
        for key, value in other.items():
            assert record[key] == (pytest.approx(value, abs=1e-6, nan_ok=True) if isinstance(value, float) else value)


def test_a_batch_with_phrases_is_split_on_the_device(tiny, others, tmp_path):
    """One of the phrases has no symbols, so that the batch is decoded in halves."""
    (tmp_path / "phrases").write_text("zz\nb\n")
    options = ("--gen-subset", "few", "--mh-sweeps", 1, "--constraints", "--mh-phrases", tmp_path / "phrases")
    with PretendDevice():
        result = generated_here(tiny, *options)
    assert result.returncode == 0, result.stderr
    assert [lines[0].startswith("-inf") for _, lines in sorted(lines_of(result.stdout, "D").items())] == [True, False]


def test_a_call_does_not_convert_the_model_of_others_on_the_device(tiny):
    with PretendDevice():
        translator = Translator(str(tiny.folder), RUN)
        with pytest.raises(UserError, match="--bf16 converts the whole model"):
            translator.translate(TEXTS, bf16=True)
        assert all(translator.translate(TEXTS))


def test_the_translator_and_the_corpus_worker(tiny, tmp_path):
    corpus = write_corpus(tmp_path / "c.de")
    with PretendDevice():
        translator = Translator(str(tiny.folder), RUN)
        assert isinstance(next(translator.model.parameters()), PretendTensor)
        results = translator.decode(["a b c a", "b b"], samples=True, chains=2)
        translate = worker(Job(tmp_path, str(tiny.folder), corpus, RUN, samples=True))
        chunk = finish(translate(scan(corpus, 100).spans[0]))
    assert all(result.translations and result.samples and result.trace for result in results)
    records = [json.loads(line) for line in chunk.records.splitlines()]
    assert [bool(record["translations"]) for record in records] == [True] * 6


@pytest.fixture(scope="module")
def output(tiny, others, tmp_path_factory):
    path = tmp_path_factory.mktemp("output") / "output"
    path.write_text(generated_here(tiny, "--gen-subset", "few", "--nbest", 3).stdout)
    return path


@pytest.mark.parametrize("energy", ["norm", "ELECTRIC", "norm,TEACHER"])
def test_rescoring(tiny, others, output, capsys, energy):
    energy = energy.replace("ELECTRIC", str(others.electric)).replace("TEACHER", str(others.teacher))
    with PretendDevice():
        main([str(one) for one in ("rescore", tiny.folder, output, "--gen-subset", "few", "--energy", energy)])
    assert capsys.readouterr().out.count("H-") == output.read_text().count("H-")
