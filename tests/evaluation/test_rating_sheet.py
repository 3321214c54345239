"""Tests that the sheet for raters hides the samplers of its texts, and that its key names them."""

import json

import polars as pl
import pytest

from fairseq_mh.cli.main import main


def run(*arguments) -> int:
    return main(["rating-sheet", *map(str, arguments)])


@pytest.fixture
def samplers(tmp_path):
    for name in ("mh", "gibbs"):
        lines = [json.dumps({"id": n, "text": f'{name}, "{n}"'}) for n in range(6)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return [f"{name}={tmp_path / name}.jsonl" for name in ("mh", "gibbs")]


def test_sheet_and_key(samplers, tmp_path, capsys):
    assert run(*samplers, "--texts", 4, "--output", tmp_path / "sheet.csv") == 0
    expected = f"{tmp_path}/sheet.csv is written: 8 texts; {tmp_path}/sheet.key.csv says where they are from\n"
    assert capsys.readouterr().out == expected
    sheet, key = pl.read_csv(tmp_path / "sheet.csv"), pl.read_csv(tmp_path / "sheet.key.csv")
    assert sheet.columns == ["item", "text", "fluency", "comment"]
    assert sorted(key["sampler"].to_list()) == ["gibbs"] * 4 + ["mh"] * 4
    assert key["sampler"].to_list() != sorted(key["sampler"].to_list())  # mixed
    for text, sampler, number in zip(sheet["text"], key["sampler"], key["id"], strict=True):
        assert text == f'{sampler}, "{number}"'
    assert sheet["text"].n_unique() == 8


def test_mistakes(samplers, tmp_path, capsys):
    (tmp_path / "other.jsonl").write_text("[1, 2]\n")
    for arguments, message in (
        ((*samplers, "--texts", 7), "6 texts"),
        (("mh",), "NAME=FILE"),
        ((f"mh={tmp_path}/other.jsonl",), "samples.jsonl"),
        (("mh=nowhere.jsonl",), "nowhere"),
        ((samplers[0], samplers[0]), "name of its own"),
        ((*samplers, "--texts", 0), "--texts"),
    ):
        assert run(*arguments, "--output", tmp_path / "sheet.csv") == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "sheet.csv").exists()


def test_a_sheet_is_never_overwritten(samplers, tmp_path, capsys):
    assert run(*samplers, "--texts", 4, "--output", tmp_path / "sheet.csv") == 0
    content = (tmp_path / "sheet.csv").read_bytes()
    assert run(*samplers, "--texts", 4, "--output", tmp_path / "sheet.csv") == 1
    assert "filled it in" in capsys.readouterr().err
    assert (tmp_path / "sheet.csv").read_bytes() == content
