"""`fairseq-mh translate` prints one line for each input line, and nothing else on standard output."""

import io
import json
import subprocess
import sys

import pytest

from fairseq_mh import Translator
from fairseq_mh.cli import translate
from fairseq_mh.cli.decoding_options import EVERYDAY
from fairseq_mh.cli.main import main
from fairseq_mh.cli.translate import in_order
from fairseq_mh.loading import FAIRSEQ_FLAGS, FAIRSEQ_OPTIONS
from fairseq_mh.translation.options.table import option_table

LANGUAGES = ("--source-lang", "de", "--target-lang", "en")
RUN = (*LANGUAGES, "--mh-sweeps", "2")
LINES = ["a b c a", "", "b b", "a " * 30, "a", "a b c a"]


@pytest.fixture(scope="module")
def expected(tiny):
    return Translator.load(tiny.folder, source_lang="de", target_lang="en", sweeps=2).translate(LINES)


def translated(monkeypatch, capsys, tiny, *options, lines=LINES, status=0):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("".join(f"{line}\n" for line in lines).encode())))
    assert main(["translate", str(tiny.folder), *map(str, (*options, *RUN))]) == status
    return capsys.readouterr()


@pytest.mark.parametrize("buffer", [1, 2, 100])
def test_one_line_is_printed_for_each_input_line(tiny, expected, monkeypatch, capsys, buffer):
    said = translated(monkeypatch, capsys, tiny, "--buffer-size", buffer)
    assert said.out.splitlines() == expected
    assert [said.out.splitlines()[n] for n in (1, 3)] == ["", ""]
    assert "(line 4) is not translated: too long: 32 symbols; the model reads 12" in said.err
    assert "line 2" not in said.err


def test_sentences_on_the_command_line_and_from_a_file(tiny, expected, monkeypatch, capsys, tmp_path):
    said = translated(monkeypatch, capsys, tiny, *LINES)
    assert said.out.splitlines() == expected
    (tmp_path / "text").write_text("".join(f"{line}\r\n" for line in LINES), encoding="utf-8")
    said = translated(monkeypatch, capsys, tiny, "--input", tmp_path / "text", "--limit", 3)
    assert said.out.splitlines() == expected[:3]


def test_each_line_is_written_before_the_next_batch(tiny, monkeypatch):
    """Also where standard output is a pipe or a file, which Python fills in blocks."""
    written, seen = io.BytesIO(), []

    def watched(events, texts, bar):
        for found in in_order(events, texts, bar):
            seen.append(written.getvalue().count(b"\n"))
            yield found

    monkeypatch.setattr(translate, "in_order", watched)
    with io.TextIOWrapper(written, encoding="utf-8") as output:
        monkeypatch.setattr(sys, "stdout", output)
        assert main(["translate", str(tiny.folder), *LINES, "--batch-size", "1", *RUN]) == 0
    assert seen == list(range(len(LINES)))


def test_n_best_and_json(tiny, expected, monkeypatch, capsys):
    said = translated(monkeypatch, capsys, tiny, "--nbest", 3)
    best = {}
    for line in said.out.splitlines():
        number, text = line.split("\t")
        best.setdefault(int(number), []).append(text)
    assert {number: texts[0] for number, texts in best.items()} == {n: expected[n] for n in (0, 2, 4, 5)}
    records = [json.loads(line) for line in translated(monkeypatch, capsys, tiny, "--json").out.splitlines()]
    assert [record["source"] for record in records] == LINES
    assert [bool(record["translations"]) for record in records] == [bool(text) for text in expected]


@pytest.mark.parametrize("buffer", [1, 100])
@pytest.mark.parametrize("source", ["standard input", "file", "arguments"])
def test_a_line_that_is_not_utf_8_loses_no_other_line(tiny, expected, monkeypatch, capsys, tmp_path, buffer, source):
    lines = [*LINES[:2], "b\udcf6", *LINES[3:5]]
    (tmp_path / "text").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="surrogateescape")
    given = {"file": ("--input", tmp_path / "text"), "arguments": lines}.get(source, ())
    with (tmp_path / "text").open(encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdin", file)
        call = ["translate", tiny.folder, *given, "--buffer-size", buffer, *RUN]
        assert main([*map(str, call)]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == [*expected[:2], "", *expected[3:5]]
    assert "(line 3) is not translated: not UTF-8: character 2 is the byte 0xF6" in said.err
    assert "error" not in said.err


def test_records_and_phrases_of_a_line_that_is_not_utf_8(tiny, monkeypatch, capsys):
    call = [
        "translate",
        str(tiny.folder),
        "b\udcf6",
        "a b\ta",
        "a\tb\udcf6",
        "--constraints",
        "unordered",
        "--json",
        *RUN,
    ]
    assert main(call) == 1
    first, second, third = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["source"] == "b\udcf6"
    assert "not UTF-8" in first["untranslated"]
    assert "not UTF-8" in third["untranslated"]
    assert second["translations"]


def test_samples_are_printed_with_their_frequencies(tiny, monkeypatch, capsys):
    """They are those of the Python API, most frequent first; standard error says whether the chains have converged."""
    pytest.importorskip("arviz_stats", reason="needs the extra `eval`")
    options = ("--samples", 40, "--mh-chains", 2, "--mh-burn-in", 1, "--mh-energy", "two-stream")
    said = sampled(monkeypatch, capsys, tiny, *options)
    translator = Translator.load(tiny.folder, source_lang="de", target_lang="en", energy="two-stream")
    found = translator.sample(LINES, 40, chains=2, burn_in=1)
    lines = [line.split("\t") for line in said.out.splitlines()]
    assert [(int(n), text) for n, _, _, text in lines] == [
        (n, f.text) for n, one in enumerate(found) for f in one.frequencies
    ]
    assert [float(share) for _, share, _, _ in lines] == [
        pytest.approx(f.frequency, rel=1e-3) for one in found for f in one.frequencies
    ]
    assert sum(float(share) for number, share, _, _ in lines if number == "0") == pytest.approx(1, abs=0.01)
    told = [line for line in said.err.splitlines() if "R-hat" in line or "never moved" in line]
    assert [line.split()[2] for line in told] == ["0:", "2:", "4:", "5:"]
    assert all("effective draws of 40" in line or "never moved" in line for line in told)
    assert "(line 4) is not translated: too long" in said.err


def test_samples_as_json(tiny, monkeypatch, capsys):
    pytest.importorskip("arviz_stats", reason="needs the extra `eval`")
    options = ("--samples", 5, "--thin", 2, "--mh-burn-in", 3, "--json")
    records = [json.loads(line) for line in sampled(monkeypatch, capsys, tiny, *options).out.splitlines()]
    assert [record["source"] for record in records] == LINES
    assert [len(record["samples"]) for record in records] == [5, 0, 5, 0, 5, 5]
    assert [one["sweep"] for one in records[0]["samples"]] == [5, 5, 5, 5, 7]
    assert sum(one["count"] for one in records[0]["frequencies"]) == 5
    assert records[0]["convergence"]["chains"] == 4
    assert records[0]["convergence"]["r_hat"] is None


def test_records_of_samples_of_a_line_that_is_not_utf_8(tiny, capsys):
    pytest.importorskip("arviz_stats", reason="needs the extra `eval`")
    options = ("--samples", "2", "--mh-burn-in", "1", "--json", *LANGUAGES)
    assert main(["translate", str(tiny.folder), "b\udcf6", "a b", *options]) == 1
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["source"] == "b\udcf6"
    assert "not UTF-8" in first["untranslated"]
    assert len(second["samples"]) == 2


def sampled(monkeypatch, capsys, tiny, *options, status=0):
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in LINES)))
    monkeypatch.setattr(sys.stdin, "reconfigure", lambda **_: None, raising=False)
    assert main(["translate", str(tiny.folder), *map(str, (*options, *LANGUAGES))]) == status
    return capsys.readouterr()


NO_SAMPLES = {
    "sweeps": (("--samples", 5, "--mh-sweeps", 3), "--mh-sweeps cannot be combined with --samples"),
    "n-best": (("--samples", 5, "--nbest", 3), "--nbest cannot be combined with --samples"),
    "no number": (("--samples", 5, "--mh-chains", "x"), "--mh-chains must be a whole number, and is x"),
    "no draws": (("--samples", 0), "--samples must be 1 or more"),
    "thinning alone": (("--thin", 2), "--thin needs --samples"),
    "annealing": (("--samples", 5, "--mh-preset", "paper"), "samples need one temperature"),
    "lengths": (("--samples", 5, "--iter-decode-with-beam", 2), "samples need one length"),
}


@pytest.mark.parametrize("name", NO_SAMPLES)
def test_what_is_no_sampling_is_refused(tiny, monkeypatch, capsys, name):
    options, message = NO_SAMPLES[name]
    said = sampled(monkeypatch, capsys, tiny, *options, status=1)
    assert message in said.err
    assert said.err.count("fairseq-mh: error:") == 1
    assert not said.out


MISTAKES = {
    "no such option": (("--mh-sweep", "3"), "did you mean --mh-sweeps?"),
    "no such choice": (("--mh-energy", "cooked"), "cooked"),
    "no such preset": (("--mh-preset", "fats"), "did you mean fast?"),
    "no n-best list": (("--nbest", "0"), "--nbest must be 1 or more"),
    "no buffer": (("--buffer-size", "0"), "--buffer-size must be 1 or more"),
    "two inputs": (("a b", "--input", "x"), "give one of them"),
    "no such file": (("--input", "nowhere.de"), "nowhere.de"),
    "no checkpoint": (("--path", "nowhere.pt"), "nowhere.pt"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_print_one_line(tiny, monkeypatch, capsys, name):
    options, message = MISTAKES[name]
    said = translated(monkeypatch, capsys, tiny, *options, status=1)
    assert message in said.err
    assert said.err.count("fairseq-mh: error:") == 1
    assert not said.out


EXPECTED = "fairseq's data folder, which has the dictionaries, is expected"
MISSING = {  # what does not exist, and what is expected
    "translate": (("translate", "{nowhere}", "a"), f"{{nowhere}} does not exist; {EXPECTED}"),
    "a file": (("translate", "{file}", "a"), f"{{file}} is not a folder; {EXPECTED}"),
    "corpus": (("corpus", "{nowhere}", "{file}", "--output", "{out}"), f"{{nowhere}} does not exist; {EXPECTED}"),
    "experiments": (
        ("experiments", "table5", "{nowhere}", "--output", "{out}"),
        f"{{nowhere}} does not exist; {EXPECTED}",
    ),
    "a dictionary": (
        ("translate", "{folder}", "a", *LANGUAGES),
        "{folder}/dict.de.txt does not exist; the data",
    ),
    "the input": (("translate", "{tiny}", "--input", "{nowhere}"), "{nowhere}: No such file or directory"),
    "a corpus": (("corpus", "{tiny}", "{nowhere}", "--output", "{out}"), "{nowhere} cannot be read: No such file"),
    "a checkpoint": (("translate", "{tiny}", "a", "--path", "{nowhere}"), "{nowhere} does not exist; a checkpoint of"),
    "a term": (
        ("translate", "{tiny}", "a", "--mh-energy", "{nowhere}.pt"),
        "{nowhere}.pt does not exist; a checkpoint",
    ),
    "a text model": (("sample", "{nowhere}.pt", "--output", "{out}"), "{nowhere}.pt does not exist; a checkpoint of"),
    "an output": (("compare", "{nowhere}", "{file}"), "{nowhere} cannot be read: No such file or directory"),
}


@pytest.mark.parametrize("name", MISSING)
def test_what_does_not_exist_is_named_once(tiny, tmp_path, capsys, name):
    """Before, the system's number of the error stood there, and the name came twice or never."""
    arguments, message = MISSING[name]
    places = {name: tmp_path / name for name in ("nowhere", "file", "folder", "out")} | {"tiny": tiny.folder}
    places["file"].write_text("a\n")
    places["folder"].mkdir()
    assert main([one.format(**places) for one in arguments]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert message.format(**places) in said
    assert said.count(str(places["nowhere"])) <= 1
    assert "Errno" not in said


@pytest.mark.parametrize("command", ["translate", "corpus"])
def test_help_lists_everyday_options_and_help_all_every_option(command, capsys):
    """Options that the short help leaves out are taken all the same, and both say the defaults."""
    shown = {}
    for option in ("--help", "--help-all"):
        with pytest.raises(SystemExit):
            main([command, option])
        shown[option] = " ".join(capsys.readouterr().out.split())
    for text in shown.values():
        for found in (
            "--mh-preset {default,rerank,fast,best,paper,sample}",
            "--iter-decode-with-beam X",
            "[-- ",
            "--help-all",
        ):
            assert found in text
        assert "default: two-stream; norm with --mh-decoding gibbs" in text
    rows = {row.name for row in option_table()} | {f"--{name}" for name in (*FAIRSEQ_OPTIONS, *FAIRSEQ_FLAGS)}
    for name in rows:
        assert (f" {name} " in shown["--help"]) == (name in EVERYDAY)
        assert f" {name} " in shown["--help-all"]


def test_a_process_prints_only_translations(tiny, expected):
    """Standard output has only translations, and standard error has no messages of libraries."""
    call = [sys.executable, "-m", "fairseq_mh", "translate", str(tiny.folder), *RUN]
    lines = "".join(f"{line}\n" for line in LINES[:3])
    result = subprocess.run(call, input=lines, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == expected[:3]
    assert not [line for line in result.stderr.splitlines() if line.strip() and "sweeps" not in line]


def test_options_are_listed(capsys):
    assert main(["options"]) == 0
    text = capsys.readouterr().out
    assert "--mh-sweeps X (default: 6)" in text
    assert "--mh-gold-length\n" in text
