"""Reranking of n-best lists: scores are made of the chains' energies, and the lines have fairseq's format."""

import shutil
from pathlib import Path

import pytest

from fairseq_mh.cli.main import main
from fairseq_mh.files.output import read_output
from tests.tiny_cmlm import generate, lines_of, write_checkpoint, write_data

NBEST = ("--gen-subset", "test", "--nbest", "4", "--mh-sweeps", "3")


def rescored(capsys, *options) -> str:
    capsys.readouterr()
    assert main(["rescore", *map(str, options)]) == 0
    return capsys.readouterr().out


@pytest.fixture
def nbest(tiny, tmp_path, capsys) -> Path:
    """Write the n-best lists of chains, whose scores are energies per token already."""
    generate(tiny, *NBEST)
    path = tmp_path / "nbest.txt"
    path.write_text(capsys.readouterr().out)
    return path


def test_the_chains_own_energy_changes_nothing(tiny, nbest, tmp_path, capsys):
    text = rescored(capsys, tiny.folder, nbest)
    expected, found = lines_of(nbest.read_text(), "D"), lines_of(text, "D")
    assert expected.keys() == found.keys()
    for number, lines in expected.items():
        pairs = [line.split("\t") for line in lines]
        again = [line.split("\t") for line in found[number]]
        assert [words for _, words in again] == [words for _, words in pairs]
        assert [float(s) for s, _ in again] == pytest.approx([float(s) for s, _ in pairs], abs=1e-4)
    (tmp_path / "again.txt").write_text(text)
    output = read_output(tmp_path / "again.txt")
    assert output.hypotheses == {n: lines[0].split("\t")[1] for n, lines in expected.items()}
    assert output.references == read_output(nbest).references
    assert output.rows == sum(len(line.split("\t")[1].split()) for lines in expected.values() for line in lines)


def test_an_electric_takes_one_row_per_candidate(tiny, nbest, tmp_path, capsys):
    path = tmp_path / "electric.pt"
    write_checkpoint(path, tiny.dictionary, arch="electric_transformer", share_all_embeddings=True)
    text = rescored(capsys, tiny.folder, nbest, nbest, "--energy", path)
    found = lines_of(text, "D")
    scores = [[float(line.split("\t")[0]) for line in lines] for lines in found.values()]
    assert all(mine == sorted(mine, reverse=True) for mine in scores)
    assert any(found[n] != lines for n, lines in lines_of(nbest.read_text(), "D").items())
    (tmp_path / "again.txt").write_text(text)
    assert read_output(tmp_path / "again.txt").rows == sum(map(len, found.values()))  # a text given twice counts once


def test_two_streams_of_one_layer_give_the_energy_in_two_rows_per_candidate(tiny, nbest, capsys):
    texts = [rescored(capsys, tiny.folder, nbest, "--energy", name) for name in ("norm", "two-stream")]
    lines = [[line for kind in lines_of(text, "D").values() for line in kind] for text in texts]
    assert [line.split("\t")[1] for line in lines[0]] == [line.split("\t")[1] for line in lines[1]]
    assert texts[1].rstrip().endswith(f"decoder rows so far: {2 * len(lines[1])}")


def test_candidates_of_no_length_of_the_model_come_last(tiny, tmp_path, capsys):
    long = " ".join("a" * 20)
    (tmp_path / "three.txt").write_text(f"S-1\tb b\nD-1\t0.0\t{long}\nD-1\t0.0\tb a\nD-1\t0.0\t\n")
    assert main(["rescore", str(tiny.folder), str(tmp_path / "three.txt")]) == 0
    said = capsys.readouterr()
    found = [line.split("\t") for line in lines_of(said.out, "D")[1]]
    assert [text for _, text in found] == ["b a", long, ""]
    assert [score for score, _ in found[1:]] == ["-inf", "-inf"]
    assert "2 candidates are empty or longer than the model's targets, and come last" in said.err


UNORDERED = {  # the lines of sentence 1, and why they have no order
    "joined pieces": ("D-1\t0.0\tab\nD-1\t0.0\tb a\n", "1 of its 2 candidates cannot be cut into the model's pieces"),
    "none in pieces": ("D-1\t0\tab\nD-1\t0\tba\nD-1\t0\tc <unk>\n", "3 of its 3 candidates cannot be cut"),
    "padding": ("D-1\t0.0\tmadeupword0000\nD-1\t0.0\tb a\n", "1 of its 2 candidates cannot be cut"),
    "long source": ("D-1\t0.0\ta\nD-1\t0.0\tb a\n", "its source is too long: 22 symbols; the model reads 12"),
}


@pytest.mark.parametrize("name", UNORDERED)
def test_a_sentence_without_an_order_does_not_end_the_others(tiny, tmp_path, capsys, name):
    """Before, candidates that cannot be cut came last in silence, and a long source ended the command."""
    lines, message = UNORDERED[name]
    subset = "test"
    if name == "long source":
        subset = "long"
        shutil.copytree(tiny.folder, tmp_path / "data")
        write_data(tmp_path / "data", tiny.dictionary, subset, [("abca", "cab"), ("ab" * 10, "a"), ("cabbac", "a")])
    data = tmp_path / "data" if name == "long source" else tiny.folder
    (tmp_path / "n.txt").write_text(f"D-0\t0.0\ta b\nD-0\t0.0\tb\n{lines}T-1\tb a\nD-2\t0.0\ta\nD-2\t0.0\tc\n")
    assert main(["rescore", str(data), str(tmp_path / "n.txt"), "--gen-subset", subset]) == 1
    said = capsys.readouterr()
    found = lines_of(said.out, "D")
    assert found[1] == ["-inf\t"]
    assert lines_of(said.out, "T")[1] == ["b a"]
    assert {n: len(listed) for n, listed in found.items()} == {0: 2, 1: 1, 2: 2}
    assert "inf" not in found[0][1] + found[2][1]
    first, last = said.err.splitlines()
    assert first.startswith(f"fairseq-mh: sentence 1 is not rescored: {message}")
    assert last.startswith("fairseq-mh: error: 1 of 3 sentences are not rescored")
    assert ("without --post-process" in last) == ("cut" in message)


def test_a_single_candidate_that_cannot_be_cut_is_told(tiny, tmp_path, capsys):
    (tmp_path / "n.txt").write_text("D-0\t0.0\tab\nD-1\t0.0\ta\nD-1\t0.0\tb\n")
    assert main(["rescore", str(tiny.folder), str(tmp_path / "n.txt")]) == 0
    said = capsys.readouterr()
    assert lines_of(said.out, "D")[0] == ["-inf\tab"]
    assert "1 candidates cannot be cut into the model's pieces: give outputs" in said.err


def test_no_reference_is_invented(tiny, nbest, tmp_path, capsys):
    (tmp_path / "bare.txt").write_text(
        "".join(f"{line}\n" for line in nbest.read_text().splitlines() if line[0] == "D")
    )
    text = rescored(capsys, tiny.folder, tmp_path / "bare.txt")
    assert lines_of(text, "D").keys() == lines_of(nbest.read_text(), "D").keys()
    assert not lines_of(text, "T")
    assert not lines_of(text, "S")


def test_the_output_of_another_subset_is_refused(tiny, nbest, tmp_path, capsys):
    swapped = nbest.read_text().replace("S-0\ta b c a", "S-0\tb b c a")
    (tmp_path / "other.txt").write_text(swapped)
    assert main(["rescore", str(tiny.folder), str(tmp_path / "other.txt")]) == 1
    said = capsys.readouterr()
    assert "sentence 0 has another source in test than in the output" in said.err
    assert not said.out


MISTAKES = {
    "no electric": (("{nbest}", "--energy", "electric"), "there is no energy 'electric'"),
    "an earlier option": (("{nbest}", "--electric", "x.pt"), "--electric was removed: use --energy electric.pt"),
    "no file": (("nowhere.txt",), "nowhere.txt cannot be read"),
    "no pieces": (("{nbest}", "--sentencepiece-model", "nowhere.model"), "--sentencepiece-model cannot be read"),
    "words": (("{words}",), "no candidate is cut into the model's pieces"),
    "another set": (("{other}",), "test has only 6 sentences, and no sentence 17"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line(tiny, tmp_path, name, capsys):
    options, message = MISTAKES[name]
    lines = {"nbest": "D-1\t0.0\ta", "other": "D-17\t0.0\ta", "words": "D-1\t0.0\tabba"}
    files = {name: tmp_path / f"{name}.txt" for name in lines}
    for name, line in lines.items():
        files[name].write_text(line + "\n")
    capsys.readouterr()
    assert main(["rescore", str(tiny.folder), *(option.format(**files) for option in options)]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("fairseq-mh: error: ") == 1
    assert "Traceback" not in said


def test_the_first_sentences(tiny, nbest, capsys):
    """--limit keeps the lowest numbers; scores differ only by the rounding in another batch."""
    whole, found = (lines_of(rescored(capsys, tiny.folder, nbest, *more), "D") for more in ((), ("--limit", 2)))
    assert list(found) == [0, 1]
    for number, lines in found.items():
        for (score, text), (same_score, same_text) in zip(
            (line.split("\t") for line in lines), (line.split("\t") for line in whole[number]), strict=True
        ):
            assert text == same_text
            assert float(score) == pytest.approx(float(same_score), abs=1e-5)
