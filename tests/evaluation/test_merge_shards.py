"""Tests of merging the outputs of `fairseq-generate`'s shards."""

import pytest

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.shards import merged
from fairseq_mh.files.output import read_output
from tests.programs import run_program
from tests.tiny_cmlm import cli, generate, generated_here, lines_of

RUN = (
    "--gen-subset",
    "test",
    "--mh-sweeps",
    2,
    "--nbest",
    2,
    "--batch-size",
    2,
    "--retain-iter-history",
    "--print-step",
)


@pytest.fixture(scope="module")
def shards(tiny, tmp_path_factory):
    """Return a folder with the output of a whole run and of its three shards."""
    folder = tmp_path_factory.mktemp("shards")
    for name, more in {
        "whole": (),
        **{str(n): ("--distributed-world-size", 3, "--distributed-rank", n) for n in range(3)},
    }.items():
        generate(tiny, *RUN, *more, "--results-path", folder / name)
        (folder / name / "generate-test.txt").rename(folder / f"{name}.txt")
    return folder


def test_merged_shards_equal_the_whole_run(shards):
    paths = [shards / f"{n}.txt" for n in (2, 0, 1)]
    result = run_program("fairseq-mh", "merge", *paths)
    assert result.returncode == 0
    whole = (shards / "whole.txt").read_text()
    for kind in "STHDPIE":
        assert lines_of(result.stdout, kind) == lines_of(whole, kind), kind
    assert len(lines_of(whole, "E")[0]) == 6
    numbers = [int(line[2:].split("\t")[0]) for line in result.stdout.splitlines() if line.startswith("S-")]
    assert numbers == list(range(6))
    assert result.stderr == "fairseq-mh: 6 sentences of 3 files are written\n"


def test_costs_are_added(shards, tmp_path):
    for n, rows in enumerate((70, 300, 2)):
        lines = (shards / f"{n}.txt").read_text()
        log = f"decoder rows so far: 5\n{lines}decoder rows so far: {rows}\nTranslated 2 sentences in 1.5s\n"
        (tmp_path / f"{n}.txt").write_text(log)
    paths = [tmp_path / f"{n}.txt" for n in range(3)]
    (tmp_path / "all.txt").write_text("\n".join(merged(paths, gaps=False)))
    output = read_output(tmp_path / "all.txt")
    assert (output.rows, output.seconds, len(output.hypotheses)) == (372, 4.5, 6)
    paths[0] = shards / "0.txt"  # an output without the log
    (tmp_path / "all.txt").write_text("\n".join(merged(paths, gaps=False)))
    assert read_output(tmp_path / "all.txt").rows is None


def test_incomplete_outputs_are_refused(shards, tmp_path):
    paths = [shards / f"{n}.txt" for n in range(3)]
    with pytest.raises(UserError, match="in none of the files"):
        merged(paths[:2], gaps=False)
    assert merged(paths[:2], gaps=True)
    with pytest.raises(UserError, match=r"0\.txt and in an earlier file"):
        merged([*paths, paths[0]], gaps=False)
    with pytest.raises(UserError, match="the files hold 6 sentences, not 7"):
        merged(paths, gaps=False, sentences=7)
    whole = paths[2].read_text()
    for content, message in ((whole * 2, "twice"), (f"{whole}Translated 3 sentences in 1s", "its log says 3")):
        (tmp_path / "odd.txt").write_text(content)
        with pytest.raises(UserError, match=message):
            merged([*paths[:2], tmp_path / "odd.txt"], gaps=False)
    lines = whole.splitlines()
    cut = tmp_path / "cut.txt"
    for kept, message in (
        (len(lines) - 1, "cut off: its last line"),
        (len(lines) // 2 - 5, "cut off"),
        (0, "no sentence"),
    ):
        cut.write_text("".join(f"{line}\n" for line in lines[:kept]))
        with pytest.raises(UserError, match=message):
            merged([*paths[:2], cut], gaps=False)


def test_a_shard_without_sentences_is_merged(shards, tmp_path, capsys):
    """`fairseq-generate` prints this line if there are fewer batches than shards."""
    (tmp_path / "empty.txt").write_text("Translated 0 sentences: shard 3 of 4 has none\n")
    lines = merged([shards / f"{n}.txt" for n in (0, 1, 2)], gaps=False)
    assert merged([shards / "0.txt", tmp_path / "empty.txt", shards / "1.txt", shards / "2.txt"], gaps=False) == lines
    with pytest.raises(UserError, match="none of the files holds a sentence"):
        merged([tmp_path / "empty.txt"], gaps=False)


def test_an_output_tells_its_cost_whatever_becomes_of_log_lines(tiny, tmp_path):
    """Log lines are switched off in one run, and in a file of its own in the other."""
    text = generated_here(tiny, *RUN).stdout
    (tmp_path / "quiet.txt").write_text(text)
    with_file = cli("generate", tiny, *RUN, "--results-path", tmp_path)
    assert with_file.returncode == 0, with_file.stderr
    found = [read_output(path) for path in (tmp_path / "quiet.txt", tmp_path / "generate-test.txt")]
    assert found[0].rows == found[1].rows > 0
    assert all(output.seconds is not None for output in found)
    cut = [
        line for line in text.splitlines() if not line.startswith(("T-", "Generate ", *(f"{k}-5" for k in "SHDPIE")))
    ]
    (tmp_path / "cut.txt").write_text("\n".join(cut))
    with pytest.raises(UserError, match="holds 5 sentences, but its log says 6"):
        merged([tmp_path / "cut.txt"], gaps=True)
