"""Reranking of n-best lists: scores are made of the chains' energies, and the lines have fairseq's format."""

from pathlib import Path

import pytest

from fairseq_mh.cli.main import main
from fairseq_mh.files.output import read_output
from tests.tiny_cmlm import generate, lines_of, write_checkpoint

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


def test_candidates_outside_the_state_space_come_last(tiny, tmp_path, capsys):
    (tmp_path / "two.txt").write_text("S-1\tb b\nD-1\t0.0\tstrange b\nD-1\t0.0\tb a\nD-1\t0.0\t\n")
    found = lines_of(rescored(capsys, tiny.folder, tmp_path / "two.txt"), "D")[1]
    assert [line.split("\t")[1] for line in found] == ["b a", "strange b", ""]
    assert [line.split("\t")[0] for line in found[1:]] == ["-inf", "-inf"]


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
