"""`fairseq-interactive` translates as `fairseq-generate` does, whatever its buffer holds."""

import pytest

from tests.tiny_cmlm import cli, generated_here, lines_of

OPTIONS = ("--mh-sweeps", 3, "--mh-chains", 2, "--nbest", 2)


def test_interactive_gives_the_translations_of_generate(tiny):
    """The size of the buffer changes nothing, because the chains are seeded by the number of the line."""
    generated = generated_here(tiny, "--gen-subset", "test", "--batch-size", 1, *OPTIONS)
    assert generated.returncode == 0, generated.stderr
    sources = "".join(f"{lines[0]}\n" for _, lines in sorted(lines_of(generated.stdout, "S").items()))
    expected = lines_of(generated.stdout, "D")
    for buffer in (1, 4):
        size = ("--buffer-size", buffer, "--batch-size", buffer, "--source-lang", "de", "--target-lang", "en")
        result = cli("interactive", tiny, *OPTIONS, *size, stdin=sources)
        assert result.returncode == 0, result.stderr
        texts = {n: [line.split("\t")[1] for line in lines] for n, lines in lines_of(result.stdout, "D").items()}
        assert texts == {n: [line.split("\t")[1] for line in lines] for n, lines in expected.items()}


def test_special_symbols_in_a_line_are_unknown_words(tiny):
    size = ("--buffer-size", 4, "--batch-size", 4, "--source-lang", "de", "--target-lang", "en")
    result = cli("interactive", tiny, *OPTIONS, *size, stdin="a <s> b\na b\na <pad> b c\n")
    assert sorted(lines_of(result.stdout, "H")) == [0, 1, 2]


def test_no_sentence_is_lost(tiny):
    """fairseq's default batch size multiple drops a last batch whose size is not a multiple of 8."""
    result = generated_here(tiny, "--gen-subset", "test", "--batch-size", 4, "--mh-sweeps", 0)
    assert sorted(lines_of(result.stdout, "H")) == list(range(6))


def test_scoring_does_not_change_the_state_space(tiny):
    """fairseq's scoring adds words to the target dictionary during a run (here "abc", three letters in one)."""
    options = ("--post-process", "letter", "--scoring", "sacrebleu", "--batch-size", 1, "--mh-sweeps", 1)
    result = generated_here(tiny, "--gen-subset", "test", *options)
    assert result.returncode == 0, result.stderr
    assert sorted(lines_of(result.stdout, "H")) == list(range(6))


def test_a_line_that_cannot_be_read_does_not_stop_the_others(tiny):
    """There are empty lines, a line that only BOS makes too long, and a buffer with only such lines."""
    lines = ["a b", "", "a " * 11, "b", "", "", "c"]
    for buffer in (2, 7):
        size = ("--buffer-size", buffer, "--batch-size", 1, "--source-lang", "de", "--target-lang", "en")
        result = cli("interactive", tiny, *OPTIONS, *size, stdin="".join(f"{line}\n" for line in lines))
        assert result.returncode == 0, result.stderr
        assert sorted(lines_of(result.stdout, "H")) == [0, 3, 6]
        long = "line 3 is not translated: too long: 13 symbols; the model reads 12"
        for said in ("line 2 is not translated: empty", long, "line 5 is not translated: empty"):
            assert said in result.stderr


def test_a_line_that_is_not_utf_8_does_not_stop_the_others(tiny, tmp_path):
    (tmp_path / "text").write_bytes(b"a b\nb \xf6\nc\n")
    for buffer in (1, 3):
        size = ("--buffer-size", buffer, "--batch-size", 1, "--source-lang", "de", "--target-lang", "en")
        result = cli("interactive", tiny, *OPTIONS, *size, "--input", tmp_path / "text")
        assert result.returncode == 0, result.stderr
        assert sorted(lines_of(result.stdout, "H")) == [0, 2]
        assert "line 2 is not translated: not UTF-8: character 3 is the byte 0xF6" in result.stderr


@pytest.mark.slow
def test_one_seed_gives_one_translation_whatever_the_buffer(tiny):
    """Two equal lines have different numbers, and so different chains."""
    lines = "".join(f"{line}\n" for line in ["a c b", "a c b", "b", "a c b", "c a b"] * 4)
    found = []
    for buffer, batch in ((1, 1), (3, 2), (20, 20)):
        size = ("--buffer-size", buffer, "--batch-size", batch, "--source-lang", "de", "--target-lang", "en")
        result = cli("interactive", tiny, "--mh-sweeps", 1, "--mh-chains", 1, *size, stdin=lines)
        assert result.returncode == 0, result.stderr
        found.append({n: texts[0].split("\t")[1] for n, texts in lines_of(result.stdout, "D").items()})
    assert found[0] == found[1] == found[2]
    assert len({found[0][n] for n in found[0] if n % 5 in (0, 1, 3)}) > 1  # equal lines have different chains
