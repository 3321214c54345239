"""A fault in a corpus run leads to a complete output, or to one clear error line and a status that is not 0."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import sentencepiece
import torch

from fairseq_mh.corpus.driver import corpus_summary
from fairseq_mh.corpus.sources import read, scan
from fairseq_mh.errors import SentenceError, UserError
from fairseq_mh.translation.generator import MHGenerator
from fairseq_mh.translation.halves import in_halves, out_of_memory
from tests.corpus.test_translate_corpus import RUN, check_same, corpus_run, write_corpus
from tests.programs import run_program
from tests.tiny_cmlm import write_checkpoint

INPUTS = {  # name -> content, and a part of the error message
    "c.de": (b"", "is empty"),
    "latin1.de": ("a b\nö\n".encode("latin-1"), "line 2 is not UTF-8"),
    "cut.de": ("a b\na ö".encode()[:-1], "line 2 is not UTF-8"),
    "packed.de": (b"\x1f\x8b\x08\x00", "compressed"),
    "nul.de": (b"a b\na\0b\n", "line 2 holds a NUL"),
    "utf16.de": ("a b\n".encode("utf-16-le"), "line 1 holds a NUL"),
    "cut.jsonl": (b'{"text": "a"}\n{"text": "a', "line 2 is cut off"),
    "blank.jsonl": (b'{"text": "a"}\n\n{"text": "a"}\n', "line 2 is cut off"),
    "list.jsonl": (b"[1, 2]\n", "line 1"),
    "none.jsonl": (b'{"id": 3}\n', "line 1"),
    "number.jsonl": (b'{"text": 3}\n', "line 1"),
    "odd id.jsonl": (b'{"text": "a", "id": ["x"]}\n', "line 1"),
    "nul.jsonl": (b'{"text": "a\\u0000"}\n', "line 1 holds a NUL"),
    "half.jsonl": (b'{"text": "\\ud800"}\n', "line 1 is not UTF-8: character 1 is half a character"),
    "deep.jsonl": (b"[" * 100_000, "line 1"),
}


@pytest.mark.parametrize("name", INPUTS)
def test_bad_inputs_are_refused_before_anything_is_written(tiny, tmp_path, name):
    content, message = INPUTS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        corpus_run(tiny, tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


OPTIONS = {
    "empty chunks": (("--chunk-size", 0), (), "--chunk-size"),
    "negative number of workers": (("--workers", -1), (), "--workers"),
    "address without Ray workers": (("--workers", 0, "--address", "auto"), (), "--address"),
    "a trace": ((), ("--mh-trace", "trace"), "--samples"),
    "lengths of references": ((), ("--mh-gold-length",), "references"),
    "an option of the sampler": ((), ("--mh-chains", "0"), "--mh-chains"),
    "a value that fairseq would refuse late": ((), ("--post-process", "x"), "post_process"),
    "two half precisions": ((), ("--fp16", "--bf16"), "fp16"),
    "samples without chains": (("--samples",), ("--mh-decoding", "mask-predict"), "--samples"),
    "shards": ((), ("--distributed-world-size", "2"), "--workers"),
    "empty batches": ((), ("--batch-size", "0"), "--batch-size"),
    "an alignment dictionary": ((), ("--replace-unk", "x"), "--replace-unk"),
    "overrides that are no dictionary": ((), ("--model-overrides", "x"), "--model-overrides must be"),
    "an unknown tokenizer": ((), ("--tokenizer", "moses"), "cannot be"),
    "pieces without a model": ((), ("--bpe", "sentencepiece"), "--bpe"),
    "pieces with a file that is no model": ((), ("--bpe", "sentencepiece", "--sentencepiece-model", __file__), "--bpe"),
    "an unknown option": ((), ("--mh-energie", "raw"), "--mh-energie"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_bad_options_are_refused(tiny, tmp_path, name):
    own, more, message = OPTIONS[name]
    with pytest.raises(UserError, match=message):
        corpus_run(tiny, write_corpus(tmp_path / "c.de"), tmp_path / "out", *own, more=(*RUN, *more))
    assert not (tmp_path / "out").exists()


def test_a_corpus_that_changes_during_the_run_is_refused(tmp_path):
    corpus = scan(write_corpus(tmp_path / "c.de"), 4)
    assert [(span.first, span.lines) for span in corpus.spans] == [(0, 4), (4, 2)]
    assert [source.text for source in read(corpus.path, corpus.spans[1])] == ["a c b", "b c a"]
    for content in ("a\n" * 3, "b" + corpus.path.read_text()[1:]):
        (tmp_path / "c.de").write_text(content)
        with pytest.raises(UserError, match="has changed since"):
            read(corpus.path, corpus.spans[0])


def test_a_byte_order_mark_is_not_part_of_the_text(tmp_path):
    (tmp_path / "c.de").write_bytes(b"\xef\xbb\xbfa b\n")
    (tmp_path / "c.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a b", "id": null}\n')
    for name in ("c.de", "c.jsonl"):
        corpus = scan(tmp_path / name, 4)
        assert [tuple(source) for source in read(corpus.path, corpus.spans[0])] == [(0, "0", "a b", ())]


def test_a_folder_of_another_corpus_model_or_option_is_refused(tiny, tmp_path):
    corpus = write_corpus(tmp_path / "c.de")
    corpus_run(tiny, corpus, tmp_path / "out")
    corpus_run(tiny, corpus, tmp_path / "out", "--workers", 3)  # the run is finished, so no worker is started
    with pytest.raises(UserError, match="other settings"):
        corpus_run(tiny, write_corpus(corpus, 2), tmp_path / "out")
    write_corpus(corpus)
    for more, message in (
        (("--model-overrides", "{'no_scale_embedding': True}"), "model_overrides was {}, and is"),
        (("--nbest", "2"), "nbest was 1, and is now 2"),
        (("--seed", "2"), "task.seed was 1, and is now 2"),
    ):
        with pytest.raises(UserError, match=f"other settings .{message}"):
            corpus_run(tiny, corpus, tmp_path / "out", more=(*RUN, *more))
    corpus_run(tiny._replace(folder=tiny.folder / "."), corpus, tmp_path / "out", more=(*RUN, "--batch-size", "1"))
    other = tiny._replace(folder=tmp_path / "data")
    shutil.copytree(tiny.folder, other.folder)
    write_checkpoint(other.folder / "checkpoint.pt", tiny.dictionary, scale=1.3, share_all_embeddings=True)
    with pytest.raises(UserError, match="other settings"):
        corpus_run(other, corpus, tmp_path / "out")


def test_the_path_of_a_sentencepiece_model_does_not_matter(tiny, tmp_path):
    """The same model by its absolute path is accepted; another model under the same path is refused."""
    corpus, models = write_corpus(tmp_path / "c.de"), []
    for name, size in (("spm", 8), ("other", 9)):
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus), model_prefix=str(tmp_path / name), vocab_size=size, minloglevel=2
        )
        models.append(tmp_path / f"{name}.model")
    more = (*RUN, "--bpe", "sentencepiece", "--sentencepiece-model")
    corpus_run(tiny, corpus, tmp_path / "out", more=(*more, os.path.relpath(models[0])))
    corpus_run(tiny, corpus, tmp_path / "out", more=(*more, str(models[0])))
    shutil.copy(models[1], models[0])
    with pytest.raises(UserError, match=r"bpe\.sentencepiece_model was"):
        corpus_run(tiny, corpus, tmp_path / "out", more=(*more, str(models[0])))


def refusal(arguments) -> str:
    """Return the one error line of a run that fails."""
    result = run_program("fairseq-mh", "corpus", *arguments)
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout
    lines = [line for line in result.stderr.splitlines() if line.startswith("fairseq-mh: error:")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.slow
def test_unwritable_outputs_and_missing_files_are_refused(tiny, tmp_path):
    corpus, run = write_corpus(tmp_path / "c.de"), ("--workers", 0, "--", *RUN)
    assert "Not a directory" in refusal([tiny.folder, corpus, "--output", corpus / "out", *run])
    assert "c.fr" in refusal([tiny.folder, tmp_path / "c.fr", "--output", tmp_path / "out", *run])
    damaged = tiny._replace(folder=tmp_path / "data")
    shutil.copytree(tiny.folder, damaged.folder)
    whole = (tiny.folder / "checkpoint.pt").read_bytes()
    (damaged.folder / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    assert "checkpoint" in refusal([damaged.folder, corpus, "--output", tmp_path / "out", *run])


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 kB, and a function that makes it larger."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(size: str, *more: str) -> bool:
        call = ["mount", "-t", "tmpfs", "-o", ",".join([*more, f"size={size}"]), "tmpfs", str(disk)]
        return subprocess.run(call, capture_output=True, check=False).returncode == 0

    if not mount("64k"):
        pytest.skip("no small file system can be mounted here")
    yield disk, lambda: mount("8m", "remount")
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_a_run_continues_after_a_full_disk(tiny, tmp_path, small_disk):
    """Complete chunks are kept; when there is room again, the same command continues."""
    disk, enlarge = small_disk
    corpus = write_corpus(tmp_path / "c.de", 20)
    run = ("--workers", 0, "--chunk-size", 6, "--samples", "--", *RUN)
    assert "No space left" in refusal([tiny.folder, corpus, "--output", disk / "out", *run])
    kept = list((disk / "out" / "chunks").iterdir())
    assert 0 < len(kept) < 20
    assert all(path.name.isdigit() and len(list(path.iterdir())) == 2 for path in kept)
    parquet = [tiny.folder, corpus, "--output", disk / "parquet", "--format", "parquet", *run]
    assert "No space left" in refusal(parquet)
    assert enlarge()
    _, records = corpus_run(tiny, corpus, disk / "out", "--chunk-size", 6, "--samples")
    check_same(records, corpus_run(tiny, corpus, tmp_path / "out", "--samples")[1])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("more", [(), ("--mh-decoding", "mask-predict"), ("--mh-energy", "two-stream")], ids=str)
def test_nan_logits_are_rejected_counted_and_reported(tiny, tmp_path, value, more):
    """The decoder gives only NaN: every record is written, holds only words, and has no energy."""
    state = torch.load(tiny.folder / "checkpoint.pt")
    state["model"]["decoder.layers.0.final_layer_norm.bias"][1] = value
    torch.save(state, tmp_path / "broken.pt")
    run = (*RUN, "--path", str(tmp_path / "broken.pt"), *more)
    counts, records = corpus_run(tiny, write_corpus(tmp_path / "c.de"), tmp_path / "out", more=run)
    assert (counts["broken"] > 0) == ("mask-predict" not in more)
    for record in records:
        (found,) = record["translations"]
        assert found["energy"] is None
        assert set(found["text"].split()) <= set("abc")


def test_nan_lengths_are_refused(tiny, tmp_path):
    state = torch.load(tiny.folder / "checkpoint.pt")
    state["model"]["encoder.layers.0.final_layer_norm.bias"][1] = torch.nan
    torch.save(state, tmp_path / "broken.pt")
    run = (*RUN, "--path", str(tmp_path / "broken.pt"))
    with pytest.raises(UserError, match="no lengths"):
        corpus_run(tiny, write_corpus(tmp_path / "c.de", times=4), tmp_path / "out", more=run)


@pytest.mark.parametrize("chunk", [1, 4, 500])
def test_lines_that_cannot_be_translated_do_not_stop_a_corpus(tiny, tmp_path, monkeypatch, chunk):
    """This holds for a last chunk of one line, for a chunk with an empty line, and for a chunk of many lines."""
    events = MHGenerator.events

    def decode_or_fail(generator, sample, *rest):
        if 4 in sample["id"]:
            raise SentenceError("no lengths: broken")
        return (yield from events(generator, sample, *rest))

    monkeypatch.setattr(MHGenerator, "events", decode_or_fail)
    (tmp_path / "c.de").write_text("a b\nb b\n\nc\na b c\n" + "a " * 20, encoding="utf-8")
    counts, records = corpus_run(tiny, tmp_path / "c.de", tmp_path / "out", "--chunk-size", chunk)
    reasons = [record["untranslated"] for record in records]
    assert reasons == [None, None, "empty", None, "no lengths: broken", "too long: 22 symbols; the model reads 12"]
    assert "3 sentences were not translated (empty: 1, no lengths: 1, too long: 1)" in corpus_summary(counts)


def test_a_batch_that_does_not_fit_into_memory_is_split(tiny, tmp_path, monkeypatch):
    """The batch is halved until it fits, and the translations are the same as with more memory."""
    corpus, decode, sizes = write_corpus(tmp_path / "c.de"), MHGenerator.events, []
    _, expected = corpus_run(tiny, corpus, tmp_path / "at once")

    def decode_small_batches(generator, sample, *rest):
        sizes.append(len(sample["id"]))
        if sizes[-1] > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return (yield from decode(generator, sample, *rest))

    limit = 2
    monkeypatch.setattr(MHGenerator, "events", decode_small_batches)
    check_same(corpus_run(tiny, corpus, tmp_path / "out")[1], expected)
    assert sizes == [6, 3, 1, 2, 3, 1, 2]
    limit = 0
    with pytest.raises(UserError, match="sentence 0 on was translated: too little memory"):
        corpus_run(tiny, write_corpus(tmp_path / "many.de", times=4), tmp_path / "nowhere")


def test_a_sentence_that_cannot_be_decoded_does_not_stop_the_others(tiny, tmp_path, monkeypatch):
    corpus, decode = write_corpus(tmp_path / "c.de"), MHGenerator.events
    _, expected = corpus_run(tiny, corpus, tmp_path / "at once")

    def decode_or_fail(generator, sample, *rest):
        if 2 in sample["id"]:
            raise SentenceError("no lengths")
        if 4 in sample["id"]:
            raise MemoryError
        return (yield from decode(generator, sample, *rest))

    monkeypatch.setattr(MHGenerator, "events", decode_or_fail)
    counts, records = corpus_run(tiny, corpus, tmp_path / "out")
    assert counts["untranslated"] == 2
    assert records[2]["untranslated"] == "no lengths"
    assert "memory" in records[4]["untranslated"]
    good = [0, 1, 3, 5]
    check_same([records[n] for n in good], [expected[n] for n in good])


def test_out_of_memory_errors_are_recognised():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(10**15)
    assert out_of_memory(raised.value)

    def broken(_):
        raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="size mismatch"):
        list(in_halves([1, 2], broken))


class Executed:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_nothing_in_a_checkpoint_is_executed(tiny, tmp_path):
    state = torch.load(tiny.folder / "checkpoint.pt")
    torch.save({**state, "extra_state": Executed(tmp_path / "executed")}, tmp_path / "hostile.pt")
    corpus, run = write_corpus(tmp_path / "c.de"), (*RUN, "--path", str(tmp_path / "hostile.pt"))
    with pytest.raises(UserError, match="which is not plain data"):
        corpus_run(tiny, corpus, tmp_path / "out", more=run)
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "out").exists()
    torch.load(tmp_path / "hostile.pt", weights_only=False)  # the control: an unsafe load executes it
    assert (tmp_path / "executed").exists()
