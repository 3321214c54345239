"""Tests of the gathering of training text: finding text, pairing it with its translation, and dropping the rest."""

from xml.etree import ElementTree

import pytest

from scripts.align_help import align
from scripts.gather_descriptions import descriptions, gather
from scripts.gather_interface import name_variables, pairs, without_access_key
from scripts.gather_manuals import blocks, pair_pages
from scripts.parallel_text import clean, distinct, is_translation, read_rows, split_pair, write_rows

HEAD = "Package: a\nDescription-md5: 1\nDescription-"
ENGLISH = f"{HEAD}en: a tool\n One\n line. Two lines.\n .\n  * first\n    item\n  * second"
GERMAN = f"{HEAD}de: Werkzeug\n Eine Zeile.\n Zwei Zeilen.\n .\n  * der\n  * zweite"


@pytest.mark.parametrize(
    ("marked", "plain"),
    [("_Save As...", "Save As..."), ("Aus~wählen", "Auswählen"), ("snake_case_name", "snake_case_name"), ("5_", "5")],
)
def test_access_keys_are_removed_and_names_stay(marked, plain):
    assert without_access_key(marked) == plain


def test_variables_get_the_same_names_on_both_sides():
    sides = name_variables("Copy $(ARG1) to %2 in %PRODUCTNAME", "In %PRODUCTNAME nach %2 kopieren: $(ARG1)")
    assert sides == ("Copy A to B in LibreOffice", "In LibreOffice nach B kopieren: A")
    assert name_variables("Page %1 of %2", "Seite %1") is None


def test_messages_are_paired_by_line_and_without_markup():
    assert list(pairs("Not _found.\n\nGo on?", "Nicht _gefunden.\nWeiter?")) == [
        ("Not found.", "Nicht gefunden."),
        ("Go on?", "Weiter?"),
    ]
    assert list(pairs("See <b>this</b>", "Siehe <b>dies</b>")) == []


def test_descriptions_are_paired_by_paragraph_then_by_sentence():
    english, german = descriptions(ENGLISH, "en"), descriptions(GERMAN, "de")
    assert english["1"][1] == ["a tool", "One line. Two lines.", "first item", "second"]
    assert [row[1:] for row in gather(english, german)] == [
        ("a tool", "Werkzeug"),
        ("One line.", "Eine Zeile."),
        ("Two lines.", "Zwei Zeilen."),
        ("first item", "der"),
        ("second", "zweite"),
    ]
    german["1"][1].pop()
    assert list(gather(english, german)) == []


def test_sentences_are_split_only_if_both_sides_have_the_same_number():
    assert len(split_pair("One thing. Another thing.", "Ein Ding. Noch ein Ding.")) == 2
    assert len(split_pair("One thing. Another thing.", "Ein Ding und noch ein Ding.")) == 1
    assert len(split_pair("Tools, e.g. This one here.", "Werkzeuge, z. B. Dieses hier.")) == 1


def test_manuals_are_paired_if_their_blocks_are_the_same():
    english = blocks(
        ElementTree.fromstring("<page><title>3.1. Top</title><p>Press <gui>Go</gui>.</p><td><p>A row</p></td></page>")
    )
    german = blocks(
        ElementTree.fromstring("<page><title>3.1. Oben</title><p>Drücken!</p><td><p>Eine Zeile</p></td></page>")
    )
    assert english == [("title", "3.1. Top"), ("p", "Press Go."), ("p", "A row")]
    assert list(pair_pages(english, german)) == [("Top", "Oben"), ("Press Go.", "Drücken!"), ("A row", "Eine Zeile")]
    assert list(pair_pages(english, german[:2])) == []


def test_missing_text_makes_a_block_unusable():
    page = blocks(ElementTree.fromstring('<page><p>See <link xref="x"/>.</p><p>Run <code>ls</code> now</p></page>'))
    assert list(pair_pages(page, [("p", "Siehe da."), ("p", "Jetzt ausführen")])) == []


@pytest.mark.parametrize(
    ("english", "german", "expected"),
    [
        ("Save the file", "Datei speichern", True),
        ("Radial", "radial", False),
        ("Map - Tile Seamless", "Map \u2013 Tile Seamless", False),
        ("You can find this filter here", "You can find this Filter there", False),
        ("1.5", "1,5", False),
        ("Yes", "Ja, aber nur wenn Sie das wirklich wollen", False),
    ],
)
def test_pairs_that_are_no_translations(english, german, expected):
    assert is_translation(english, german) is expected


def test_rows_survive_a_file_and_are_distinct(tmp_path):
    rows = [
        ("a", *clean("the “first”\nline", "Extras ▸ Optionen")),
        ("b", "page 1", "Seite 1"),
        ("c", "page 2", "Seite 2"),
    ]
    assert rows[0][1:] == ('the "first" line', "Extras \u2013 Optionen")
    write_rows(distinct(rows), tmp_path / "rows.tsv.gz")
    assert read_rows(tmp_path / "rows.tsv.gz") == rows[:2]


def test_short_and_long_paragraphs_of_the_help_on_demand(tmp_path):
    for language, words in (("en-US", "two words"), ("de", "zwei Wörter")):
        (tmp_path / language).mkdir()
        (tmp_path / language / "a.html").write_text(f'<p id="x">{words}</p>', encoding="utf-8")
    assert align(tmp_path) == []
    assert align(tmp_path, (1, 100)) == [("a.html", "two words", "zwei Wörter")]
