"""Outputs of fairseq are read and compared."""

import pytest

from fairseq_mh.cli.main import main
from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.comparison import comparison_table, of_common_sentences
from fairseq_mh.files.output import first_sentences, in_order, read_output, read_references
from tests.programs import run_program

PRINTED = """2026-01-01 | INFO | fairseq_mh.translation.generator | 2 sentences, 2 chains, decoder rows so far: 40
S-1\tein Haus
T-1\ta house
H-1\t-0.5\t▁a ▁house
D-1\t-0.5\ta house
P-1\t-0.5 -0.5
S-0\teine Katze
T-0\ta cat
H-0\t-0.1\t▁the ▁cat
D-0\t-0.1\tthe cat
P-0\t-0.1 -0.1
H-0\t-0.2\t▁a ▁cat
D-0\t-0.2\ta cat
P-0\t-0.2 -0.2
2026-01-01 | INFO | fairseq_mh.translation.generator | 4 sentences, 4 chains, decoder rows so far: 77
2026-01-01 | INFO | fairseq_cli.generate | Translated 2 sentences (4 tokens) in 1.5s (1.3 sentences/s, 2.67 tokens/s)
"""


def test_an_output_is_read_with_its_best_translations_and_cost(tmp_path):
    (tmp_path / "out").write_text(PRINTED, encoding="utf-8")
    output = read_output(tmp_path / "out")
    assert output.hypotheses == {0: "the cat", 1: "a house"}
    assert output.references == {0: "a cat", 1: "a house"}
    assert output.sources == {0: "eine Katze", 1: "ein Haus"}
    assert (output.rows, output.seconds) == (77, 1.5)
    assert in_order(output.hypotheses, output.references) == (["the cat", "a house"], ["a cat", "a house"])
    with pytest.raises(UserError, match="sentence 1 has no reference"):
        in_order(output.hypotheses, {0: "a cat"})


def test_lines_end_as_in_fairseq(tmp_path):
    (tmp_path / "reference").write_text("one\u2028line\nand another\n", encoding="utf-8")
    assert read_references(tmp_path / "reference") == {0: "one\u2028line", 1: "and another"}
    (tmp_path / "out").write_text("T-0\tone\u2028line\nD-0\t-1\tone\x0bline\n", encoding="utf-8")
    output = read_output(tmp_path / "out")
    assert (output.references, output.hypotheses) == ({0: "one\u2028line"}, {0: "one\x0bline"})


def test_files_that_are_not_outputs_are_refused(tmp_path):
    (tmp_path / "log").write_text("nothing translated\n", encoding="utf-8")
    for reader, name, message in (
        (read_output, "log", "no D- line"),
        (read_output, "missing", "cannot be read"),
        (read_references, "missing", "cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            reader(tmp_path / name)


def outputs(tmp_path, **texts):
    for name, lines in texts.items():
        content = "".join(f"D-{n}\t-1\t{line}\n" for n, line in enumerate(lines))
        (tmp_path / name).write_text(content, encoding="utf-8")
    return {name: read_output(tmp_path / name) for name in texts}


def test_compare_counts_wins_and_finds_significant_differences(tmp_path):
    """The baseline garbles half of 200 references; one system copies all of them, and one equals the baseline."""
    right = [f"the {n} small cats sat on mat number {n * 7}" for n in range(200)]
    wrong = [line if n % 2 else line.replace("small cats sat", "dog") for n, line in enumerate(right)]
    found = outputs(tmp_path, base=wrong, better=right, same=wrong)
    table = comparison_table(found, dict(enumerate(right)), samples=200).splitlines()
    better, same = table[3].split(), table[4].split()
    assert better[0] == "better"
    assert float(better[1]) == 100.0
    assert better[2] == "±0.00"  # no mean of the bootstrap, which differs from the score
    assert float(better[3]) == pytest.approx(1 / 201, abs=1e-4)  # the lowest p-value of 200 resamples
    assert better[-4:-2] == ["100", "0"]
    assert same[3] == "equal"
    assert same[-4:-2] == ["0", "0"]
    assert "bs:200" in table[-1]
    shorter = outputs(tmp_path, base=wrong, other=right[:-1])
    with pytest.raises(UserError, match="same sentences"):
        comparison_table(shorter, dict(enumerate(right)), samples=10)
    common = of_common_sentences(shorter)
    assert [len(output.hypotheses) for output in common.values()] == [199, 199]
    assert comparison_table(common, dict(enumerate(right)), samples=10)


def test_the_command_compare(tmp_path):
    for name in ("out", "other"):
        (tmp_path / name).write_text(PRINTED, encoding="utf-8")
    result = run_program("fairseq-mh", "compare", tmp_path / "out", tmp_path / "other")
    assert result.returncode == 0
    assert "77" in result.stdout
    refused = run_program("fairseq-mh", "compare", tmp_path / "out")
    assert refused.returncode == 1
    assert refused.stderr == "fairseq-mh: error: there is nothing to compare: give two outputs or more\n"


def test_compare_with_a_limit(tmp_path, capsys):
    (tmp_path / "out").write_text(PRINTED, encoding="utf-8")
    assert first_sentences(read_output(tmp_path / "out"), 1).hypotheses == {0: "the cat"}
    (tmp_path / "other").write_text(PRINTED, encoding="utf-8")
    path, other = str(tmp_path / "out"), str(tmp_path / "other")
    assert main(["compare", path, path]) == 1
    assert "an output is given twice" in capsys.readouterr().err
    assert main(["compare", path, other, "--limit", "1"]) == 0
    assert capsys.readouterr().out.startswith("1 sentences; ")
    assert main(["compare", path, other, "--limit", "0"]) == 1
    assert "--limit must be 1 or more" in capsys.readouterr().err
