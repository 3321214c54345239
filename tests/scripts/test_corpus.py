"""Tests of the embedded model's corpus: aligned by paragraph id, split by page, and without held-out training text."""

from scripts.align_help import align, paragraphs
from scripts.prepare_data import HELDOUT_WORDS, split, split_of

ENGLISH = """<html><body><h1 id="hd_1">Title of a page</h1>
<p id="par_2" class="x">Press <span class="a"><span hidden="true" id="MAC1" class="MAC">Command</span><span>Ctrl</span>
</span> now,<br>and <img src="x.png" alt="no">wait</p><p>no id here</p><p id="N3">only in English here</p>"""
GERMAN = """<html><body><h1 id="hd_1">Titel der Seite</h1>
<p id="par_2">Drücken Sie jetzt &amp; <b>warten</b> Sie</p><p id="par_9">nur deutsch</p></body>"""


def test_paragraphs_are_paired_by_page_and_id(tmp_path):
    for language, page in (("en-US", ENGLISH), ("de", GERMAN)):
        (tmp_path / language / "text").mkdir(parents=True)
        (tmp_path / language / "text" / "a.html").write_text(page, encoding="utf-8")
    (tmp_path / "en-US" / "text" / "b.html").write_text(ENGLISH, encoding="utf-8")
    assert paragraphs(tmp_path / "en-US" / "text" / "a.html")["par_2"] == "Press Ctrl now, and wait"
    assert align(tmp_path) == [
        ("text/a.html", "Title of a page", "Titel der Seite"),
        ("text/a.html", "Press Ctrl now, and wait", "Drücken Sie jetzt & warten Sie"),
    ]


def test_split_is_by_page_and_held_out_segments_are_new():
    rows = [(f"page{i % 400}.html", f"this is sentence number {i % 1500}", f"das ist Satz {i}") for i in range(4000)]
    rows += [("page1.html", "too short", "viel zu kurz"), ("page2.html", "the same here", "the same here")]
    splits = split(rows)
    pages = {german: page for page, _, german in rows}
    trained = {side.casefold() for pair in splits["train"] for side in pair}
    assert all(split_of(pages[german]) == name for name, pairs in splits.items() for german, _ in pairs)
    assert {split_of(page) for page, _, _ in rows} == {"train", "valid", "test", None}
    for name in ("valid", "test"):
        assert splits[name]
        for pair in splits[name]:
            assert all(side.casefold() not in trained and len(side.split()) in HELDOUT_WORDS for side in pair)
    assert all(german != english for pairs in splits.values() for german, english in pairs)
