"""Text that users give: phrases and templates are held as given, or a note says how; unknown text gives a warning."""

import io
import shutil
from pathlib import Path

import pytest
import sentencepiece
import torch
from fairseq.data import Dictionary
from fairseq.data.encoders.sentencepiece_bpe import SentencepieceBPE, SentencepieceConfig

from fairseq_mh.errors import UserError
from fairseq_mh.masked_lms.dictionaries import Words
from fairseq_mh.translation.given.outline import OPEN, outline_of
from fairseq_mh.translation.given.phrases import encoded, read_phrases
from fairseq_mh.translation.given.pieces import Cutter, Pieces, warn_of_other_pieces
from fairseq_mh.translator import Translator
from tests.tiny_cmlm import WORDS, dictionary_of, write_checkpoint, write_data

MODEL = Path(__file__).parents[2] / "models" / "libreoffice-de-en"
LANGUAGES = {"source_lang": "de", "target_lang": "en"}
INVISIBLE = ["\u200b", "\ufeff", "\u2581", "\u200e", "\u0007", "\u200b\u2581 \u200e"]


@pytest.fixture(scope="module")
def embedded():
    return Translator.load(MODEL, sweeps=1, chains=1, constraints="unordered")


@pytest.mark.parametrize("phrase", INVISIBLE)
def test_a_phrase_that_becomes_no_piece_is_ignored_and_said(embedded, caplog, phrase):
    plain, one = embedded.decode(["Klicken Sie."] * 2, phrases=[[], [phrase]], numbers=[1, 1])
    assert one.translations[0].text == plain.translations[0].text
    (other,) = embedded.decode(["Klicken Sie."], phrases=[[phrase, "menu"]])
    assert "menu" in other.translations[0].text
    assert caplog.text.count("is ignored") <= 1  # once for each text
    assert outline_of(f"{phrase}{{}}", embedded.task.pieces).parts == [OPEN]


CHANGED = {
    "x\u00b2": "x2",
    "\u2026": "...",
    "\u00bd": "1\u20442",
    "\u2122": "TM",
    "\ufb01le": "file",
    "\uff2f\uff2b": "OK",
    "10\u00a0menus": "10 menus",
    "men\u0075\u0308": "men\u00fc",
}


@pytest.mark.parametrize("given", CHANGED)
@pytest.mark.parametrize("template", [False, True])
def test_text_that_is_held_in_another_spelling_is_said_once(caplog, given, template):
    pieces = fresh_pieces()
    for _ in range(2):
        if template:
            parts = outline_of(f"Click {given} {{}}", pieces).parts[1:-1]
        else:
            (parts,) = encoded([given], pieces)
        assert pieces.join([*parts]) == CHANGED[given]
    assert len(caplog.messages) == 1
    assert CHANGED[given] in caplog.text or ascii(CHANGED[given])[1:-1] in caplog.text


def test_a_phrase_without_symbols_is_named_once(embedded, caplog):
    for _ in range(2):
        first, second = embedded.decode(["Klicken Sie."] * 2, phrases=[["menu", "a\u00ad"], ["menu"]])
        assert "the given parts have symbols" in first.untranslated
        assert second.translations
    assert len(encoded(["menu", "menu", " "], embedded.task.pieces)) == 2
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warned == [f"the model has no symbols for {'a' + chr(0xAD)!r}: its dictionary lacks '\\xad'"]


@pytest.mark.parametrize("phrases", ["menu", None, 3, [None], [3], [b"menu"]])
def test_phrases_that_are_no_list_of_texts_are_refused(embedded, phrases):
    with pytest.raises(UserError, match="the phrases of a text are a list of texts"):
        embedded.decode(["Klicken Sie."], phrases=[phrases])


@pytest.mark.parametrize("source", [*INVISIBLE, "\u00a0\u200b"])
def test_a_source_of_invisible_characters_is_named(embedded, source):
    found = embedded.decode([source, "Menü", " \u00a0", ""], phrases=[[]] * 4)
    assert found[0].untranslated.startswith("empty, because")
    assert found[1].translations
    assert [one.untranslated for one in found[2:]] == ["empty"] * 2


def test_a_file_of_phrases_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "phrases").write_bytes(b"\xef\xbb\xbfmenu\tthe\r\n\n")
    assert read_phrases(str(tmp_path / "phrases"), 2) == [["menu", "the"], [""]]


def test_text_that_is_held_as_given_is_not_said(caplog):
    pieces = fresh_pieces()
    encoded(["Click the menu.", " button ", "Größe (100%)"], pieces)
    outline_of("Click {2}s on {} the {}menu", pieces)
    assert not caplog.messages


def fresh_pieces() -> Pieces:
    """Return the embedded model's pieces, which have said nothing yet."""
    pieces = Pieces(Dictionary.load(str(MODEL / "dict.en.txt")))
    pieces.bpe = Cutter(SentencepieceBPE(SentencepieceConfig(sentencepiece_model=str(MODEL / "spm.model"))))
    return pieces


@pytest.mark.parametrize(
    "template",
    [
        *("", "a", "{-1}", "a {2", "a 2}", "{ 2 } a", "{x}", "{2.5}", "{{}}", "{} {two}", "{0}", "{00}"),
        *("\uff5b2\uff5d", "{99999}", "{" + "9" * 5000 + "}"),
    ],
)
def test_a_misspelt_blank_is_refused(tiny, template):
    with pytest.raises(UserError, match=r"\{3\} for a blank of 3 symbols") as refused:
        outline_of(template, Pieces(tiny.dictionary))
    assert "\n" not in str(refused.value)


def test_text_that_is_not_utf_8_is_refused_alone(tiny, embedded):
    texts = ["Menü", "L\udcf6schen", "a\ud800", "Menü"]
    found = embedded.decode(texts, numbers=[0, 1, 2, 0], phrases=[[]] * 4)
    assert [bool(result.translations) for result in found] == [True, False, False, True]
    assert found[1].untranslated == "not UTF-8: character 2 is the byte 0xF6"
    assert found[2].untranslated == "not UTF-8: character 2 is half a character (a lone surrogate)"
    first, second = embedded.decode(["Menü", "Menü"], phrases=[["L\udcf6"], ["menu"]])
    assert first.untranslated
    assert second.translations
    with pytest.raises(UserError, match="no symbols for"):
        embedded.decode(["Menü"], template="\udcf6 {}")
    with pytest.raises(UserError, match="not UTF-8"):
        embedded.alternatives("\udcf6", torch.tensor([4]), 0)


GREEK = (
    "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u03ba\u03b5\u03af\u03bc\u03b5\u03bd\u03bf \u03b5\u03b4\u03ce."
)


def test_a_line_with_mostly_unknown_words_gives_one_warning(caplog):
    """Its symbols are mostly known, because each unknown word is one symbol beside the mark of a word."""
    translator = Translator.load(MODEL, sweeps=0, chains=1)
    translator.translate(["Öffnen Sie das Menü.", "Speichern unter \u2603"])
    assert "unknown" not in caplog.text
    translator.translate(["Öffnen Sie das Menü und klicken Sie.", GREEK, GREEK])
    translator.translate([GREEK])
    assert caplog.text.count("words and") == 1
    assert "sentence 1: 3 of 3 words" in caplog.text


@pytest.mark.parametrize(
    ("words", "sentence", "counts"),
    [
        (["\u2581", "\u2581a", "b"], "\u2581a b \u2581 x \u2581a x b \u2581a", (4, 2, 8, 2)),
        (["\u2581", "\u2581a", "b"], "x b \u2581a", (2, 1, 3, 1)),
        (["a@@", "b"], "a@@ b x a@@ x b", (4, 2, 6, 2)),
        (["a", "b"], "x a b y", (4, 2, 4, 2)),
    ],
)
def test_words_are_counted_by_their_pieces(words, sentence, counts):
    dictionary = dictionary_of(words)
    line = dictionary.encode_line(sentence, add_if_not_exist=False).long()
    padding = line.new_full((3,), dictionary.pad())
    both = torch.stack([torch.cat([padding, line]), torch.cat([line, padding])])
    for count, expected in zip(Words(dictionary).counts(both), counts, strict=True):
        assert count.tolist() == [expected] * 2


def trained_on(lines: list[str], size: int) -> sentencepiece.SentencePieceProcessor:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=size, model_type="bpe", minloglevel=9
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def test_a_foreign_sentencepiece_model_in_the_folder_gives_one_warning(tmp_path, caplog):
    """Nearly all of its pieces can be in the dictionary, so the dictionary's symbols are looked up in it."""
    for path in MODEL.glob("dict.*"):
        shutil.copy(path, tmp_path)
    lines = (MODEL / "valid.de").read_text(encoding="utf-8").splitlines()
    (tmp_path / "spm.model").write_bytes(trained_on(lines, 600).serialized_model_proto())
    for folder, warnings in ((tmp_path, 1), (MODEL, 0)):
        translator = Translator.load(folder, path=MODEL / "checkpoint.pt", **LANGUAGES, sweeps=0, chains=1)
        translator.translate(["Öffnen Sie das Menü."])
        assert caplog.text.count("does not fit the dictionary") == warnings
        caplog.clear()


def test_a_dictionary_with_a_part_of_the_pieces_fits(caplog):
    processor = trained_on((MODEL / "valid.de").read_text(encoding="utf-8").splitlines(), 600)
    known = [processor.IdToPiece(number) for number in range(3, 103)]
    holder = type("Bpe", (), {"sp": processor})
    warn_of_other_pieces(holder, dictionary_of([*known, "\u2603"]))
    assert not caplog.messages
    warn_of_other_pieces(holder, dictionary_of([*known, *map(chr, range(0x2603, 0x2610))]))
    assert len(caplog.messages) == 1


def test_pieces_of_subword_nmt_are_joined(tmp_path):
    """A model without codes in its folder prints words, too."""
    dictionary = dictionary_of(["a@@", *WORDS[1:]])
    write_data(tmp_path, dictionary, "test", [(["a@@", "b"], ["c"])])
    write_checkpoint(tmp_path / "checkpoint.pt", dictionary, scale=1.4, share_all_embeddings=True)
    translator = Translator.load(tmp_path, **LANGUAGES, sweeps=1, chains=1)
    (result,) = translator.decode(["a@@ b"], template="a@@ b {1}")
    assert result.translations[0].text.startswith("ab ")
