"""Tests that no training pair of any corpus equals, or nearly equals, held-out text."""

import json
import sys
from itertools import count
from pathlib import Path

import pytest

from fairseq_mh.files.output import read_lines
from scripts import mix_corpora
from scripts.held_out import HeldOut, letters_only, read_heldout, select_training_pairs, training_pages
from scripts.parallel_text import write_rows
from scripts.prepare_data import split_of

MODEL = Path(__file__).resolve().parents[2] / "models" / "libreoffice-de-en"
HELD = ("Öffnen Sie das Dokument 12.", "Open document 12.")


def page(split: str | None) -> str:
    """Find the name of a page in a split."""
    return next(name for name in map("page{}.html".format, count()) if split_of(name) == split)


def no_fault(pair):
    return None


@pytest.mark.parametrize(
    ("german", "english", "reason"),
    [
        (HELD[0], "Something else.", "a side is held out"),
        ("Etwas anderes.", HELD[1], "a side is held out"),
        ("ÖFFNEN SIE das Dokument 12.", "Something else.", "a side is held out"),
        ("Etwas anderes.", "Open  document 13 !", "a side is nearly held out"),
        ("Öffnen Sie das Dokument!", "Something else.", "a side is nearly held out"),
        ("ÖFFNEN Sie das Dokument!", "Something else.", "a side is nearly held out"),
        ("Öffnen Sie die Dokumente 12.", "Open documents 12.", None),
        ("12.", "12!", None),
    ],
)
def test_either_side_decides(german, english, reason):
    assert HeldOut([HELD]).reason((german, english)) == reason


def test_texts_without_letters_have_nothing_in_common():
    heldout = HeldOut([("1 + 2", "3")])
    assert letters_only("1 + 2") == ""
    assert heldout.reason(("4 + 5", "9")) is None


def test_dropped_pairs_are_counted_by_reason():
    rows = [("x", HELD[1], "A"), ("x", "b", "B"), ("x", "b", "B"), ("x", "c" * 9, "C")]
    seen: set = set()
    pairs, dropped = select_training_pairs(
        rows, HeldOut([HELD]), seen, lambda pair: "too long" if len(pair[1]) > 5 else None
    )
    assert pairs == [("B", "b")]
    assert dropped == {"a side is held out": 1, "seen before": 1, "too long": 1}
    assert select_training_pairs([("y", "b", "B")], HeldOut([]), seen, no_fault)[0] == []


def test_validation_test_and_reserve_are_held_out():
    reserve = (page(None), "four words of reserve", "vier Wörter der Reserve")
    short = (page(None), "Example:", "Beispiel:")
    trained = (page("train"), "words of training", "Wörter zum Trainieren")
    heldout = read_heldout(MODEL, [reserve, short, trained])
    for name in ("valid", "test"):
        for language in ("de", "en"):
            assert all(heldout.reason((line, "-")) for line in read_lines(MODEL / f"{name}.{language}"))
    assert heldout.reason(("-", reserve[1]))
    assert heldout.reason((reserve[2], "-"))
    assert heldout.reason((short[2], short[1])) is None
    assert heldout.reason((trained[2], trained[1])) is None


def test_only_training_pages_of_the_help_are_read():
    rows = [(page(split), "text", "Text") for split in ("train", "valid", "test", None)]
    assert training_pages(rows) == rows[:1]


@pytest.mark.slow
def test_corpora_are_prepared_for_the_existing_model(tmp_path, monkeypatch):
    held = [read_lines(MODEL / f"valid.{language}")[0] for language in ("en", "de")]
    rows = [("a", "Click the button.", "Klicken Sie hier."), ("b", *held), ("c", "snow ☃ man", "Schneemann")]
    write_rows([*rows, ("d", "Close all windows " * 60, "Alle Fenster " * 60)], tmp_path / "new.tsv.gz")
    command = [
        "mix_corpora",
        str(tmp_path / "out"),
        "--model",
        str(MODEL),
        "--corpus",
        f"new={tmp_path / 'new.tsv.gz'}",
    ]
    monkeypatch.setattr(sys, "argv", command)
    mix_corpora.main()
    counts = json.loads((tmp_path / "out" / "counts.json").read_text())
    assert counts["new"]["dropped"] == {"a side is held out": 1, "too long": 1, "unknown characters": 1}
    assert counts["new"]["kept"] == 1
    assert counts["help"]["kept"] > 20_000
    assert len(read_lines(tmp_path / "out" / "corpora" / "new.de")) == 1
