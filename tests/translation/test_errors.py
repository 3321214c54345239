"""A user's mistake gives one clear line and status 1, and leaves no files."""

import json
import os
import shutil
import subprocess

import pytest

from fairseq_mh import Translator
from fairseq_mh.errors import SentenceError, UserError
from fairseq_mh.translation.generator import MHGenerator
from tests.cli.in_process import called
from tests.tiny_cmlm import cli, command, generated_here, lines_of, refused, write_checkpoint, write_data

GENERATE = ("--gen-subset", "test")

ENDLESS = "1" + 22 * "0"


OPTIONS = {
    "unknown energy": (("--mh-energy", "cooked"), "cooked"),
    "unknown option": (("--mh-energie", "raw"), "--mh-energie"),
    "not a number": (("--mh-sweeps", "many"), "many"),
    "negative sweeps": (("--mh-sweeps", "-1"), "sweeps"),
    "sweeps without end": (("--mh-sweeps", ENDLESS), "--mh-sweeps must be at most 1000000"),
    "chains without end": (("--mh-chains", ENDLESS), "--mh-chains must be at most 1000000"),
    "a block without end": (("--mh-block-size", ENDLESS), "--mh-block-size must be at most 1000000"),
    "passes without end": (
        ("--iter-decode-max-iter", ENDLESS),
        "--iter-decode-max-iter must be at most 1000000",
    ),
    "lengths without end": (
        ("--iter-decode-with-beam", ENDLESS),
        "--iter-decode-with-beam must be at most 1000000",
    ),
    "a prefix without end": (("--prefix-size", ENDLESS), "--prefix-size must be at most 1000000"),
    "burn-in leaves nothing": (
        ("--mh-burn-in", "9", "--mh-sweeps", "3"),
        "--mh-burn-in must be from 0 to --mh-sweeps, which is 3",
    ),
    "no chain": (("--mh-chains", "0"), "--mh-chains"),
    "zero temperature": (("--mh-final-temperature", "0"), "--mh-final-temperature must be above 0"),
    "not-a-number temperature": (("--mh-temperature", "nan"), "--mh-temperature must be above 0"),
    "infinite temperature": (("--mh-temperature", "inf"), "temperature"),
    "infinite proposal temperature": (("--mh-proposal-temperature", "inf"), "--mh-proposal-temperature"),
    "zero proposal temperature": (("--mh-proposal-temperature", "0"), "--mh-proposal-temperature"),
    "chains of mask-predict": (("--mh-decoding", "mask-predict", "--mh-chains", "2"), "deterministic"),
    "gold length and a beam": (("--mh-gold-length", "--iter-decode-with-beam", "2"), "--mh-gold-length"),
    "negative block": (("--mh-final-block-size", "-1"), "--mh-final-block-size must be 1 or more"),
    "empty nucleus": (("--mh-nucleus", "0"), "--mh-nucleus"),
    "informed Gibbs": (("--mh-scan", "informed", "--mh-decoding", "gibbs"), "informed"),
    "negative inverse temperature": (("--mh-mbr-beta", "-1"), "--mh-mbr-beta"),
    "not-a-number reward": (
        ("--mh-length-reward", "nan", "--mh-length-select", "length-model"),
        "--mh-length-reward must be finite",
    ),
    "an earlier option for experts": (("--mh-expert", "x.pt"), "use --mh-energy with a list"),
    "an earlier option for delayed acceptance": (("--mh-surrogate=partition",), "--mh-surrogate was removed"),
    "an earlier option for single sites": (("--mh-proposal", "single"), "--mh-block-size 1"),
    "reward of nothing": (("--mh-length-reward", "1"), "--mh-length-select length-model"),
    "mask-predict from the reference": (
        ("--mh-decoding", "mask-predict", "--mh-init", "reference"),
        "--mh-gold-length",
    ),
    "unknown utility": (("--mh-select", "mbr", "--mh-utility", "meteor"), "meteor"),
    "reranker": (("--iter-decode-with-external-reranker",), "CMLM:RERANKER"),
    "alignment": (("--print-alignment", "hard"), "--print-alignment"),
    "prefix": (("--prefix-size", "-1"), "--prefix-size"),
    "a batch of less than a sentence": (("--max-tokens", "3"), "max_tokens=3"),
    "unknown utility that nothing reads": (("--mh-utility", "wrongname"), "--mh-utility wrongname"),
    "negative seed": (("--seed", "-1"), "--seed must be from 0 to 4294967295"),
    "large seed": (("--seed", "4294967296"), "--seed must be from 0 to 4294967295"),
    "seed that is no whole number": (("--seed", "1.5"), "--seed: invalid int value: '1.5'"),
    "seed that is missing": (("--seed",), "--seed: expected one argument"),
    "task that is missing": (("--task",), "--task: expected one argument"),
    "number of translations": (("--nbest", "x"), "--nbest: invalid int value: 'x'"),
    "unknown tokenizer": (("--tokenizer", "x"), "--tokenizer: invalid choice: 'x'"),
    "empty batches": (("--batch-size", "0"), "--batch-size must be 1 or more"),
    "negative number of workers": (("--num-workers", "-1"), "--num-workers must not be negative"),
    "settings of the model": (("--model-overrides", "{"), "--model-overrides must be a Python dictionary"),
    "no such shard": (("--distributed-world-size", "2", "--distributed-rank", "2"), "--distributed-rank"),
    "unknown pieces": (("--post-process", "x"), "--post-process"),
    "split": (("--gen-subset", "nowhere"), "nowhere"),
    "trace in no folder": (("--mh-trace", "no/such/folder/trace"), "--mh-trace"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_cannot_be_used_are_refused(tiny, name):
    options, expected = OPTIONS[name]
    assert expected in refused(generated_here(tiny, *GENERATE, *options))


@pytest.mark.parametrize("name", ["unknown energy", "unknown option", "trace in no folder"])
def test_options_are_refused_in_a_process_of_their_own(tiny, name):
    options, expected = OPTIONS[name]
    call, environment = command("generate", tiny, *GENERATE, *options), os.environ | {"OMP_NUM_THREADS": "1"}
    assert expected in refused(subprocess.run(call, capture_output=True, text=True, env=environment, check=False))


@pytest.mark.parametrize("options", [{"seed": 1.5}, {"seed": 2**32}, {"nbest": "x"}, {"model_overrides": "{"}])
def test_a_translator_refuses_values_of_fairseqs_options(tiny, options):
    (name,) = options
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')}"):
        Translator.load(tiny.folder, source_lang="de", target_lang="en", **options)


def test_the_seeds_of_commands_have_one_range(tmp_path):
    (tmp_path / "texts").touch()
    output = ("--output", tmp_path / "out")
    for arguments in (
        ("sample", "x", *output),
        ("rating-sheet", f"a={tmp_path / 'texts'}", *output),
        ("translate", "x"),
    ):
        done = called(*arguments, "--seed", 2**32)
        assert done.returncode == 1
        assert "--seed must be from 0 to 4294967295" in done.stderr


@pytest.mark.slow
def test_nothing_is_written_for_a_refused_run(tiny, tmp_path):
    """Neither before the first batch nor in the midst of decoding, when a reference turns out too long.

    Only fairseq's own file of --results-path is there, with its log lines.
    """
    write_data(tiny.folder, tiny.dictionary, "late", [("a", "a"), ("abc", "abc" * 4)])
    outputs = ("--mh-trace", tmp_path / "trace", "--results-path", tmp_path)
    refused(cli("generate", tiny, *GENERATE, "--mh-chains", "0", *outputs))
    late = cli("generate", tiny, "--gen-subset", "late", "--mh-gold-length", "--batch-size", 1, *outputs)
    assert "12" in refused(late)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["generate-late.txt", "generate-test.txt"]
    assert not any("H-" in path.read_text() for path in tmp_path.iterdir())


@pytest.mark.parametrize(("batch", "bad"), [(1, 1), (1, 3), (6, 1)])
def test_a_sentence_that_cannot_be_decoded_does_not_stop_the_others(tiny, tmp_path, monkeypatch, batch, bad):
    """It gets an empty hypothesis with score -inf, in a batch with others and in one of its own, even the first."""
    whole = generated_here(tiny, *GENERATE, "--mh-sweeps", 1, "--batch-size", batch)
    expected = lines_of(whole.stdout, "D")
    events = MHGenerator.events

    def odd(generator, sample, *rest):
        if bad in sample["id"]:
            raise SentenceError("no lengths")
        return (yield from events(generator, sample, *rest))

    monkeypatch.setattr(MHGenerator, "events", odd)
    outputs = ("--mh-trace", tmp_path / "trace", "--results-path", tmp_path)
    result = generated_here(tiny, *GENERATE, "--mh-sweeps", 1, "--batch-size", batch, *outputs)
    found = lines_of((tmp_path / "generate-test.txt").read_text(), "D")
    traced = {json.loads(line)["id"] for line in (tmp_path / "trace").read_text().splitlines()}
    assert result.returncode == 0, result.stderr
    assert sorted(found) == list(range(6))
    assert found.pop(bad) == ["-inf\t"]
    assert {number: found[number] for number in found} == {number: expected[number] for number in found}
    assert traced == set(found)


def test_shards_are_of_about_equal_size_and_may_be_empty(tiny):
    """Six sentences make three shards of two; of ten shards, four are empty and end without an error."""
    for shards in (3, 10):
        found = []
        for shard in range(shards):
            own = ("--distributed-world-size", shards, "--distributed-rank", shard)
            result = generated_here(tiny, *GENERATE, "--mh-sweeps", 1, *own)
            assert result.returncode == 0, result.stderr
            found += [sorted(lines_of(result.stdout, "H"))] if "H-" in result.stdout else []
        assert sorted(number for shard in found for number in shard) == list(range(6))
        assert {len(shard) for shard in found} == {6 // min(shards, 6)}


def test_checkpoints_that_cannot_be_used_are_refused(tiny, tmp_path):
    write_checkpoint(tmp_path / "ar.pt", tiny.dictionary, arch="transformer", share_all_embeddings=True)
    assert "CMLM" in refused(generated_here(tiny, *GENERATE, checkpoint=tmp_path / "ar.pt"))
    whole = tiny.folder / "checkpoint.pt"
    assert "2 models" in refused(generated_here(tiny, *GENERATE, checkpoint=f"{whole}:{whole}"))
    assert "no-such.pt" in refused(generated_here(tiny, *GENERATE, checkpoint=tmp_path / "no-such.pt"))
    missing = refused(generated_here(tiny, *GENERATE, "--mh-energy", "no-such-electric.pt"))
    assert "no-such-electric.pt" in missing
    assert "damaged" not in missing
    for size in (0, 100, 5000):
        (tmp_path / "cut.pt").write_bytes(whole.read_bytes()[:size])
        assert "checkpoint" in refused(generated_here(tiny, *GENERATE, checkpoint=tmp_path / "cut.pt"))


@pytest.mark.parametrize("name", ["dict.de.txt", "test.de-en.de.bin", "test.de-en.de.idx", "test.de-en.en.bin"])
@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_broken_data_files_are_refused(tiny, tmp_path, name, how):
    broken = tiny._replace(folder=tmp_path / "data")
    shutil.copytree(tiny.folder, broken.folder)
    path = broken.folder / name
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(generated_here(broken, *GENERATE))


DICTIONARIES = {
    "a word twice": ("a 1\nb 1\na 1\n", "'a'"),
    "a special symbol": ("a 1\n<unk> 1\n", "'<unk>'"),
    "no count": ("a\nb\n", "expected"),
    "another encoding": ("ä 1\n".encode("latin-1"), "utf-8"),
}


@pytest.mark.parametrize("name", DICTIONARIES)
def test_dictionaries_that_cannot_be_read_are_refused(tiny, tmp_path, name):
    content, said = DICTIONARIES[name]
    broken = tiny._replace(folder=tmp_path / "data")
    shutil.copytree(tiny.folder, broken.folder)
    path = broken.folder / "dict.en.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refused(generated_here(broken, *GENERATE))
    assert str(path) in line
    assert said in line


def test_a_byte_order_mark_is_no_part_of_a_dictionary(tiny, tmp_path):
    marked = tmp_path / "data"
    shutil.copytree(tiny.folder, marked)
    for path in marked.glob("dict.*.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    options = {"source_lang": "de", "target_lang": "en", "sweeps": 1}
    translator = Translator.load(marked, **options)
    assert translator.task.target_dictionary == tiny.dictionary
    assert translator.translate(["a b"]) == Translator.load(tiny.folder, **options).translate(["a b"])


def test_sources_and_references_that_do_not_fit_are_refused(tiny, tmp_path):
    cases = {"empty": [("abc", "abc"), ("", "a")], "long": [("abc", "a"), ("abc" * 6, "a")]}
    cases["wide"] = [("abc", "abc" * 4)]  # 12 tokens, BOS and EOS do not fit into 12 positions
    for split, pairs in cases.items():
        write_data(tiny.folder, tiny.dictionary, split, pairs)
    assert "line 1 is empty" in refused(generated_here(tiny, "--gen-subset", "empty"))
    assert "sentence 1" in refused(generated_here(tiny, "--gen-subset", "long"))
    assert "12" in refused(generated_here(tiny, "--gen-subset", "wide", "--mh-gold-length"))
    skipped = generated_here(tiny, "--gen-subset", "long", "--skip-invalid-size-inputs-valid-test", "--mh-sweeps", 1)
    assert skipped.returncode == 0
    assert "H-0" in skipped.stdout


def test_a_trace_is_kept_when_the_reader_of_the_output_stops(tiny, tmp_path):
    """The trace of a long run is not lost if the reader of its output, or a full disk, ends the run."""
    trace = tmp_path / "trace"
    call = command("generate", tiny, *GENERATE, "--batch-size", 1, "--mh-sweeps", 1, "--mh-trace", trace)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        process.stdout.readline()
        process.stdout.close()
    assert process.returncode != 0
    assert trace.read_text(encoding="utf-8")


def test_options_that_interactive_cannot_use_are_refused(tiny):
    options = ("--mh-sweeps", "1", "--source-lang", "de", "--target-lang", "en")
    assert "--buffer-size" in refused(cli("interactive", tiny, *options, "--batch-size", 4, stdin="a b\n"))
    no_reference = cli("interactive", tiny, *options, "--mh-gold-length", stdin="a b\n")
    assert "references" in refused(no_reference)


def test_a_checkpoint_that_never_saw_a_partly_masked_target_gives_a_warning(tiny, tmp_path, caplog):
    for noise, warned in (("full_mask", True), ("random_mask", False)):
        write_checkpoint(tmp_path / "c.pt", tiny.dictionary, share_all_embeddings=True, noise=noise)
        result = generated_here(tiny, *GENERATE, "--mh-sweeps", 1, checkpoint=tmp_path / "c.pt")
        assert result.returncode == 0, result.stderr
        assert ("never seen a partly masked target" in caplog.text) == warned
        caplog.clear()


def test_sources_of_another_dictionary_give_one_warning(tiny, caplog):
    translator = Translator.load(tiny.folder, source_lang="de", target_lang="en", sweeps=1, batch_size=1)
    translator.translate(["a b c", "a z"])
    assert "source symbols are unknown" not in caplog.text
    translator.translate(["x y z a", "x y"])
    assert caplog.text.count("source symbols are unknown") == 1
    assert "sentence 1: 2 of 2 words and 2 of 2 source symbols" in caplog.text  # the batch of the shorter one is first
