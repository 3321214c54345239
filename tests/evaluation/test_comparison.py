"""Tests that a comparison warns of references and outputs whose scores mean nothing."""

import pytest

from fairseq_mh.cli.main import main
from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.translation_bench import TranslationBench, warn_once

JOINED = ["Open the menu.", "Click here now.", "a @@ b"]
SENTENCEPIECE = ["▁Open ▁the ▁me n u .", "▁Click ▁here ▁now .", "▁a ▁@@ ▁b"]
BPE = ["Open the me@@ n@@ u@@ .", "Click here now .", "a @@ b"]
UNKNOWN = ["Open the <<unk>>.", "Click <unk> now.", "a @@ b"]


def output(path, hypotheses, references=JOINED):
    lines = [
        f"S-{n}\ta\nT-{n}\t{reference}\nH-{n}\t-1\t{text}\nD-{n}\t-1\t{text}\n"
        for n, (text, reference) in enumerate(zip(hypotheses, references, strict=True))
    ]
    path.write_text("".join(lines), encoding="utf-8")
    return path


CASES = {  # two outputs, T- lines of the first, and what is said of them
    "both are joined": (JOINED, JOINED, JOINED, ""),
    "all are in pieces": (BPE, BPE, BPE, ""),
    "the first is in pieces": (SENTENCEPIECE, JOINED, SENTENCEPIECE, "{a} and the references: these are in pieces"),
    "the second is in pieces": (JOINED, BPE, JOINED, "{b}: these are in pieces"),
    "only the references are joined": (BPE, SENTENCEPIECE, JOINED, "{a} and {b}: these are in pieces"),
    "unknown characters": (JOINED, JOINED, UNKNOWN, "2 of 3 references (T- lines) have <unk>"),
}


@pytest.mark.parametrize("name", CASES)
def test_scores_that_mean_nothing_are_told(tmp_path, capsys, name):
    """Before, none of this was said."""
    first, second, references, message = CASES[name]
    paths = {"a": output(tmp_path / "a", first, references), "b": output(tmp_path / "b", second)}
    assert main(["compare", *map(str, paths.values()), "--samples", "2"]) == 0
    said = capsys.readouterr().err
    assert said.startswith(f"fairseq-mh: {message.format(**paths)}" if message else "")
    assert said.count("\n") == bool(message)
    assert ("--reference" in said or "--post-process" in said) == bool(message)


def test_references_of_ones_own_are_not_suspected(tmp_path, capsys):
    (tmp_path / "plain").write_text("\n".join(UNKNOWN) + "\n")
    paths = [str(output(tmp_path / name, JOINED, UNKNOWN)) for name in "ab"]
    assert main(["compare", *paths, "--samples", "2", "--reference", str(tmp_path / "plain")]) == 0
    assert not capsys.readouterr().err


def test_experiments_warn_once(tmp_path, caplog):
    warn_once.known.clear()
    output(tmp_path / "output.txt", SENTENCEPIECE, UNKNOWN)
    record = '{"id": 0, "length": 1, "chain": 0, "sweep": 0, "temperature": 1.0, "tokens": [4], "energy": 1.0'
    (tmp_path / "trace.jsonl").write_text(f'{record}, "proposals": 0, "accepted": 0, "novel": 0, "rows": 1}}\n')
    bench = TranslationBench(tmp_path, tmp_path / "output.txt", "test", None, ())
    for _ in range(2):
        with pytest.raises(UserError, match="not a folder of binarised data"):  # after the texts are read
            bench.measure(tmp_path)
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(" (")[0] for line in said] == [
        "2 of 3 references",
        "the output: these are in pieces, the others are joined, and scores of both cannot be compared: run "
        "fairseq-generate with the same --post-process",
    ]
