"""`fairseq-mh pieces` trains a SentencePiece model on a corpus of any size, and cuts parallel texts into its pieces."""

import pytest
import sentencepiece

from fairseq_mh.files.output import read_lines
from tests.cli.in_process import called
from tests.docs.stage import ENGLISH, GERMAN

LANGUAGES = ("--languages", "de", "en")
TEXTS = {
    "train": {"de": GERMAN * 3, "en": ENGLISH * 3},
    "valid": {"de": ["", " Menü  Ω\u2028wählen"], "en": ["x", "y z"]},
}


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Return the current folder, which has a folder of parallel texts, the second with a byte order mark."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").mkdir()
    for name, sides in TEXTS.items():
        for language, lines in sides.items():
            text = "".join(f"{line}\n" for line in lines)
            (tmp_path / f"text/{name}.{language}").write_text(
                text, encoding="utf-8-sig" if name == "valid" else "utf-8"
            )
    return tmp_path


def test_a_small_corpus_gives_fewer_pieces(corpus):
    said = called("pieces", "text/train", "text/valid", *LANGUAGES, "--output", "made/pieces")
    assert said.returncode == 0, said.stderr
    folder = corpus / "made/pieces"
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
    assert pieces.get_piece_size() < 100
    assert said.stdout == (
        f"made/pieces is written: spm.model ({pieces.get_piece_size()} pieces), train (12 pairs), valid (2 pairs)\n"
    )
    files = {f"{name}.{language}" for name, sides in TEXTS.items() for language in sides}
    assert {path.name for path in folder.iterdir()} == {"spm.model", *files}
    assert [path.name for path in folder.parent.iterdir()] == ["pieces"]
    for name in files:
        text, language = name.split(".")
        cut = read_lines(folder / name)
        assert [line.split() for line in cut] == pieces.encode(TEXTS[text][language], out_type=str)


def test_size_is_the_most_pieces(corpus):
    assert called("pieces", "text/train", *LANGUAGES, "--size", 45, "--output", "pieces").returncode == 0
    pieces = sentencepiece.SentencePieceProcessor(model_file="pieces/spm.model")
    assert pieces.get_piece_size() == 45


def test_nothing_is_overwritten(corpus):
    (corpus / "pieces").mkdir()
    (corpus / "pieces/train.de").write_text("finished")
    said = called("pieces", "text/train", *LANGUAGES, "--output", "pieces")
    assert said.returncode == 1
    assert said.stderr == "fairseq-mh: error: pieces already exists: choose another folder, or remove it\n"
    assert [path.read_text() for path in (corpus / "pieces").iterdir()] == ["finished"]


MISTAKES = {
    "a missing file": (["text/trian"], "text/trian.de cannot be read: No such file or directory"),
    "too small": (["text/train", "--size", 9], "--size 9 is too small for the characters of the first text"),
    "no size": (["text/train", "--size", 0], "--size must be 1 or more"),
    "one name twice": (["text/train", "./text/train"], "the texts need different names, because they are written into"),
    "one language": (["text/train", "--languages", "de", "de"], "--languages needs two different languages"),
    "no pairs": (["text/train", "odd"], "odd.de has 2 lines, and odd.en has 1: they must be pairs"),
    "empty": (["empty"], "the first text has only empty lines"),
    "not UTF-8": (["latin"], "latin.de cannot be read: 'utf-8' codec can't decode byte 0xe4"),
    "a folder in a file": (["text/train", "--output", "odd.de/x"], "odd.de/x cannot be written: File exists"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_print_one_line_and_write_nothing(corpus, name):
    texts = {"odd.de": b"a\nb\n", "odd.en": b"a\n", "empty.de": b" \n", "empty.en": b"\n"}
    for file, content in {**texts, "latin.de": "ä\n".encode("latin-1"), "latin.en": b"a\n"}.items():
        (corpus / file).write_bytes(content)
    before = sorted(corpus.rglob("*"))
    arguments, message = MISTAKES[name]
    said = called("pieces", *LANGUAGES, "--output", "pieces", *arguments)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith(f"fairseq-mh: error: {message}")
    assert said.stderr.count("\n") == 1
    assert sorted(corpus.rglob("*")) == before
