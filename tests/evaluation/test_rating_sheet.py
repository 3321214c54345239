"""The sheet for raters does not say where a text is from; its key does."""

import json
import sys

import polars as pl
import pytest

from fairseq_mh.cli import rating_sheet


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["rating_sheet.py", *map(str, arguments)])
    rating_sheet.main()


@pytest.fixture
def samplers(tmp_path):
    for name in ("mh", "gibbs"):
        lines = [json.dumps({"id": n, "text": f'{name}, "{n}"'}) for n in range(6)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return [f"{name}={tmp_path / name}.jsonl" for name in ("mh", "gibbs")]


def test_sheet_and_key(samplers, tmp_path, monkeypatch):
    run(monkeypatch, *samplers, "--texts", 4, "--output", tmp_path / "sheet.csv")
    sheet, key = pl.read_csv(tmp_path / "sheet.csv"), pl.read_csv(tmp_path / "sheet.key.csv")
    assert sheet.columns == ["item", "text", "fluency", "comment"]
    assert sorted(key["sampler"].to_list()) == ["gibbs"] * 4 + ["mh"] * 4
    assert key["sampler"].to_list() != sorted(key["sampler"].to_list())  # mixed
    for text, sampler, number in zip(sheet["text"], key["sampler"], key["id"], strict=True):
        assert text == f'{sampler}, "{number}"'
    assert sheet["text"].n_unique() == 8


def test_mistakes(samplers, tmp_path, monkeypatch):
    (tmp_path / "other.jsonl").write_text("[1, 2]\n")
    for arguments, message in (
        ((*samplers, "--texts", 7), "6 texts"),
        (("mh",), "NAME=FILE"),
        ((f"mh={tmp_path}/other.jsonl",), "samples.jsonl"),
        (("mh=nowhere.jsonl",), "nowhere"),
        ((samplers[0], samplers[0]), "name of its own"),
        ((*samplers, "--texts", 0), "--texts"),
    ):
        with pytest.raises(SystemExit, match=message):
            run(monkeypatch, *arguments, "--output", tmp_path / "sheet.csv")
        assert not (tmp_path / "sheet.csv").exists()


def test_a_sheet_is_never_overwritten(samplers, tmp_path, monkeypatch):
    run(monkeypatch, *samplers, "--texts", 4, "--output", tmp_path / "sheet.csv")
    with pytest.raises(SystemExit, match="filled it in"):
        run(monkeypatch, *samplers, "--texts", 4, "--output", tmp_path / "sheet.csv")
