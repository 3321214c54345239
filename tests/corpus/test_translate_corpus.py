"""A corpus run gives the translations of `fairseq-generate`, also after an interruption."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from fairseq_mh.cli.corpus import options_of
from fairseq_mh.cli.main import parse
from fairseq_mh.corpus.driver import translate
from tests.programs import send_signal, start_program
from tests.tiny_cmlm import generate, lines_of

SENTENCES = ["a b c a", "b b", "c a b b a c", "a", "a c b", "b c a"]  # the test set of the tiny model
RUN = ("--mh-sweeps", "3", "--source-lang", "de", "--target-lang", "en")


def write_corpus(path: Path, times: int = 1) -> Path:
    path.write_text("".join(f"{line}\n" for line in SENTENCES * times), encoding="utf-8")
    return path


def corpus_run(tiny, corpus: Path, output: Path, *own, more=RUN):
    """Translate a corpus; return the counts and the records."""
    arguments = ["corpus", tiny.folder, corpus, "--output", output, *own]
    arguments += [] if "--workers" in own else ["--workers", 0]
    counts = translate(options_of(parse([str(argument) for argument in (*arguments, "--", *more)])))
    path = output / "translations.jsonl"
    return counts, [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def check_same(records, others) -> None:
    """Compare texts, cost, chains and sweeps exactly, and energies up to the rounding in other batches."""
    parts = []
    for run in (records, others):
        found = [(r["id"], r["rows"], [(t["text"], t["chain"], t["sweep"]) for t in r["translations"]]) for r in run]
        parts.append((found, [t["energy"] for r in run for t in r["translations"]]))
    assert parts[0][0] == parts[1][0]
    assert parts[0][1] == pytest.approx(parts[1][1], abs=1e-4)


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return corpus_run(tiny, write_corpus(folder / "c.de"), folder / "out", more=(*RUN, "--nbest", "3"))


def test_translations_equal_those_of_fairseq_generate(tiny, whole, capsys):
    generate(tiny, "--gen-subset", "test", *RUN, "--nbest", 3, double=False)
    expected = lines_of(capsys.readouterr().out, "D")
    counts, records = whole
    assert [r["sentence"] for r in records] == list(range(6))
    for record in records:
        texts = [line.split("\t")[1] for line in expected[record["sentence"]]]
        assert [found["text"] for found in record["translations"]] == texts
        assert record["rows"] > 0
        best = record["translations"][0]
        assert best["score"] == pytest.approx(-best["energy"] / best["length"], rel=1e-5)
    assert counts["sentences"] == 6
    assert counts["rows"] == sum(record["rows"] for record in records)


@pytest.mark.parametrize(
    ("own", "more"),
    [
        (("--chunk-size", 1), ()),
        (("--chunk-size", 4), ("--batch-size", "2")),
        (("--format", "jsonl"), ("--max-tokens", "9")),
        (("--format", "parquet"), ("--batch-size", "1")),
    ],
)
def test_chunks_batches_and_formats_change_nothing(tiny, whole, tmp_path, own, more):
    corpus, out = write_corpus(tmp_path / "c.de"), tmp_path / "out[1]"  # a pattern for some libraries
    _, records = corpus_run(tiny, corpus, out, *own, more=(*RUN, "--nbest", "3", *more))
    name = "translations.jsonl"
    if "parquet" in own:
        name = "translations.parquet"
        records = pl.read_parquet((out / name).read_bytes()).to_dicts()
    check_same(records, whole[1])
    assert {path.name for path in out.iterdir()} == {name, "chunks.jsonl", "settings.json"}


def test_a_line_separator_within_a_line_is_kept(tiny, tmp_path):
    """JSON does not escape U+2028, at which `str.splitlines` would cut a record."""
    (tmp_path / "c.de").write_text("a\u2028b\nb\n", encoding="utf-8")
    corpus_run(tiny, tmp_path / "c.de", tmp_path / "out", "--format", "parquet")
    records = pl.read_parquet(tmp_path / "out" / "translations.parquet")
    assert records["source"].to_list() == ["a\u2028b", "b"]


def test_json_lines_keep_their_ids_and_samples_are_the_visited_states(tiny, whole, tmp_path):
    corpus = tmp_path / "c.jsonl"
    lines = [{"id": f"x{n}", "text": text} for n, text in enumerate(SENTENCES[:-1])] + [{"text": SENTENCES[-1]}]
    corpus.write_text("".join(json.dumps(line) + "\n" for line in lines))
    more = (*RUN, "--nbest", "3", "--mh-chains", "2", "--mh-burn-in", "1")
    _, records = corpus_run(tiny, corpus, tmp_path / "out", "--samples", more=more)
    assert [record["id"] for record in records] == ["x0", "x1", "x2", "x3", "x4", "5"]
    for record in records:
        assert [(s["chain"], s["sweep"]) for s in record["samples"]] == [(0, 1), (1, 1), (0, 2), (1, 2), (0, 3), (1, 3)]
        lowest = min(sample["energy"] for sample in record["samples"])
        assert record["translations"][0]["energy"] <= lowest + 1e-6


def test_the_record_of_an_untranslated_line_gives_the_reason(tiny, tmp_path):
    corpus = tmp_path / "c.de"
    corpus.write_text("a b\n\n" + "a " * 10_000 + "\n \t\nz z z\nb", encoding="utf-8")
    counts, records = corpus_run(tiny, corpus, tmp_path / "out", "--samples")
    assert [record["untranslated"] for record in records] == [
        None,
        "empty",
        "too long: 10002 symbols; the model reads 12",
        "empty",
        None,
        None,
    ]
    assert [bool(record["translations"]) for record in records] == [True, False, False, False, True, True]
    assert (counts["untranslated"], counts["unknown"], counts["symbols"]) == (3, 3, 6)


@pytest.mark.slow
def test_the_same_command_continues_after_a_kill(tiny, tmp_path):
    """No chunk is lost or written twice, and no complete chunk is translated again."""
    corpus, more = write_corpus(tmp_path / "c.de", 3), (*RUN, "--nbest", "2", "--mh-sweeps", "15")
    arguments = [tiny.folder, corpus, "--output", tmp_path / "out", "--workers", 0, "--chunk-size", 2, "--", *more]
    chunks = tmp_path / "out" / "chunks"
    process = start_program("fairseq-mh", "corpus", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: len(list(chunks.glob("*[0-9]"))) >= 2, process)
    send_signal(process, signal.SIGKILL)
    process.communicate()
    done = [path.read_text() for path in sorted(chunks.glob("*[0-9]/chunks.jsonl"))]  # with its seconds
    assert len(done) >= 2
    _, records = corpus_run(tiny, corpus, tmp_path / "out", "--chunk-size", 2, more=more)
    assert "".join(done) in (tmp_path / "out" / "chunks.jsonl").read_text()
    check_same(records, corpus_run(tiny, corpus, tmp_path / "at once", more=more)[1])
    assert not chunks.exists()


def started(arguments, **options) -> subprocess.Popen:
    call = [sys.executable, "-m", "fairseq_mh", "corpus", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options)


def wait_for(condition, process: subprocess.Popen) -> None:
    for _ in range(3000):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("the condition was never met")
