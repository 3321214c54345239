"""`fairseq-interactive` translates as `fairseq-generate` does, and an installed wheel serves as the clone does."""

from tests.tiny_cmlm import cli, lines_of

OPTIONS = ("--mh-sweeps", 3, "--mh-chains", 2, "--nbest", 2)


def test_interactive_gives_what_generate_gives(tiny):
    """Whatever the buffer, and for a line that comes twice: chains are keyed by the line's number."""
    generated = cli("generate", tiny, "--gen-subset", "test", "--batch-size", 1, *OPTIONS)
    assert generated.returncode == 0, generated.stderr
    sources = "".join(f"{lines[0]}\n" for _, lines in sorted(lines_of(generated.stdout, "S").items()))
    expected = lines_of(generated.stdout, "D")
    for buffer in (1, 4):
        size = ("--buffer-size", buffer, "--batch-size", buffer, "--source-lang", "de", "--target-lang", "en")
        result = cli("interactive", tiny, *OPTIONS, *size, stdin=sources)
        assert result.returncode == 0, result.stderr
        texts = {n: [line.split("\t")[1] for line in lines] for n, lines in lines_of(result.stdout, "D").items()}
        assert texts == {n: [line.split("\t")[1] for line in lines] for n, lines in expected.items()}


def test_special_symbols_in_a_line_are_words_that_nobody_knows(tiny):
    size = ("--buffer-size", 4, "--batch-size", 4, "--source-lang", "de", "--target-lang", "en")
    result = cli("interactive", tiny, *OPTIONS, *size, stdin="a <s> b\na b\na <pad> b c\n")
    assert sorted(lines_of(result.stdout, "H")) == [0, 1, 2]


def test_no_sentence_is_lost(tiny):
    """fairseq's default batch size multiple leaves out the last batch where it is no multiple of 8."""
    result = cli("generate", tiny, "--gen-subset", "test", "--batch-size", 4, "--mh-sweeps", 0)
    assert sorted(lines_of(result.stdout, "H")) == list(range(6))


def test_scoring_does_not_change_the_state_space(tiny):
    """fairseq's scoring adds words to the target dictionary in mid-run (here "abc", three letters in one)."""
    options = ("--post-process", "letter", "--scoring", "sacrebleu", "--batch-size", 1, "--mh-sweeps", 1)
    result = cli("generate", tiny, "--gen-subset", "test", *options)
    assert result.returncode == 0, result.stderr
    assert sorted(lines_of(result.stdout, "H")) == list(range(6))
