"""Tests that the teacher's translations return to the corpora of their sources."""

import pytest

from fairseq_mh.files.output import read_lines
from scripts import distil


def test_translations_return_to_their_corpora(tmp_path, monkeypatch):
    corpora = {"a": ["▁eins", "▁zwei"], "b": ["▁drei", "▁vier", "▁fünf"]}
    (tmp_path / "corpora").mkdir()
    for name, lines in corpora.items():
        (tmp_path / "corpora" / f"{name}.de").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    monkeypatch.setattr(distil, "mixture", lambda *arguments: tmp_path / "sources")
    lines = ["H-0\t-0.1\t▁one", "D-0\t-0.1\t▁no", "H-4\t-0.1\t▁five", f"H-3\t-1\t{'▁for ' * 99}", "H-2\t-1\t▁three"]
    translated = []

    def translate(data, checkpoint, split, output, options):
        translated.append(data)
        output.write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    monkeypatch.setattr(distil, "translate", translate)
    for _ in range(2):
        distil.distil(tmp_path, tmp_path / "model", tmp_path / "teacher.pt", ["a", "b"])
    assert translated == [tmp_path / "sources"]
    for name, expected in (("a", ["▁eins", "▁one"]), ("b", ["▁drei", "▁three", "▁fünf", "▁five"])):
        sides = [read_lines(tmp_path / "corpora" / f"{name}_distilled.{language}") for language in ("de", "en")]
        assert [text for pair in zip(*sides, strict=True) for text in pair] == expected


@pytest.mark.parametrize(("pieces", "expected"), [(0, False), (1, True), (16, True), (17, False)])
def test_translations_that_repeat_themselves_are_left_out(pieces, expected):
    assert distil.is_sound("▁zwei ▁Stücke", " ".join(["▁x"] * pieces)) is expected
    assert distil.is_sound("▁zwei", None) is False
