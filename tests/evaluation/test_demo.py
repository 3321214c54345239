"""Tests of the demo on complete and incomplete folders."""

import shutil
import sys
import tempfile

import polars as pl
import pytest

import fairseq_mh
from fairseq_mh.cli.main import main
from fairseq_mh.errors import UserError
from fairseq_mh.evaluation import demo
from fairseq_mh.evaluation.demo import demo_bench, demo_grid, find_model
from fairseq_mh.evaluation.translation_bench import TranslationBench
from fairseq_mh.files.chunks import fingerprint
from tests.programs import programs


@pytest.mark.slow
@pytest.mark.usefixtures("forked_runs")
def test_a_folder_without_a_teacher(tiny, capsys, monkeypatch):
    """The row of the teacher is left out, as the last line says; all other decoders are shown."""
    decoders = ["mask-predict", "annealed MH (default)", "best, ordered with the teacher"]
    grid = demo.read_grid
    monkeypatch.setattr(demo, "read_grid", lambda *given: [run for run in grid(*given) if run.decoder in decoders])
    assert main(["demo", str(tiny.folder), "--limit", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"5 segments of the test set of {tiny.folder.name}"
    assert lines[5].strip() == "the CMLM alone"
    assert [line[2:].split("  ")[0] for line in lines[6:8]] == decoders[:2]
    energies = [line.split()[-3] for line in lines[6:8]]
    (said,) = (line for line in lines if line.startswith("At one length"))
    assert [word for word in said.split() if word.startswith("0.") or word[0].isdigit()] == [
        energies[1],
        f"{energies[0]}.",
    ]
    expected = f"{decoders[2]} is left out: {tiny.folder}/teacher.pt does not exist"
    assert lines[-1] == expected
    assert sum(line.startswith("source ") for line in lines) == 2  # the fourth and the fifth segment


def test_finished_decoders_are_shown_if_one_fails(tiny, monkeypatch, capsys, tmp_path):
    """The folder that the message names is kept."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(programs().bin / "python"))  # its imports are done
    execute = TranslationBench.execute

    def fail(self, run, folder):
        if run.decoder != "mask-predict":
            raise UserError("a run failed")
        execute(self, run, folder)

    monkeypatch.setattr(TranslationBench, "execute", fail)
    assert main(["demo", str(tiny.folder), "--all"]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("\n6 segments")
    assert "mask-predict" in printed.out
    assert "degenerate Gibbs" not in printed.out
    assert printed.err.splitlines()[-1] == "fairseq-mh: error: a run failed"
    assert len(list(tmp_path.glob("fairseq-mh.*/runs/*/output.txt"))) == 1


def test_the_embedded_model_has_every_decoder():
    model = find_model()
    grid, notes = demo_grid(model)
    assert len(grid) == 10
    assert not notes
    assert grid[-1].options["mh-energy"] == f"two-stream,{model / 'teacher.pt'}:0/0.5,{model / 'reverse.pt'}:0/0.5"
    bench = demo_bench(model, False, None)
    assert bench.arguments[:2] == ("--post-process", "sentencepiece")
    assert bench.arguments[-2:] == ("--distributed-world-size", "10")
    assert bench.reference == model / "test.en"
    assert "--distributed-world-size" not in demo_bench(model, False, 3).arguments


def test_the_recorded_table_is_of_the_embedded_model_and_its_decoders():
    """It is not shown beside the results of another checkpoint, so a replaced model needs a new record."""
    model, recorded = find_model(), pl.read_csv(find_model().parents[1] / demo.RECORDED).filter(pl.col("seed") == 1)
    assert set(recorded["checkpoint"]) == {f"checkpoint.pt {fingerprint(model / 'checkpoint.pt')}"}
    shown = [run.decoder for run in demo_grid(model)[0]]
    assert [decoder for decoder in recorded["decoder"] if decoder in shown] == shown
    beside = recorded.filter(pl.col("decoder").is_in(shown)).with_columns(sentences=50)
    tables = "\n".join(demo._tables(beside, demo_bench(model, False, None)))
    assert "All 500 segments, recorded" in tables
    assert tables.count("the CMLM alone") == 2
    said = "\n".join(demo.what_chains_give(recorded))
    for decoder in ("rerank, with both", "best, ordered with both"):
        assert f"{recorded.filter(decoder=decoder)['bleu'][0]:.1f}" in said.split("Ordered by")[1]
    others = beside.with_columns(checkpoint=pl.lit("checkpoint.pt of another model"))
    assert "recorded" not in "\n".join(demo._tables(others, demo_bench(model, False, None)))


def test_the_message_outside_a_clone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fairseq_mh, "__file__", str(tmp_path / "site-packages" / "fairseq_mh" / "__init__.py"))
    assert main(["demo"]) == 1
    printed = capsys.readouterr().err
    assert "fairseq-mh demo FOLDER" in printed
    assert printed.count("\n") == 1


def test_a_missing_file_is_named_before_anything_is_decoded(tiny, tmp_path, capsys):
    folder = tmp_path / "folder"
    shutil.copytree(tiny.folder, folder)
    (folder / "checkpoint.pt").unlink()
    assert main(["demo", str(folder)]) == 1
    printed = capsys.readouterr().err
    assert printed == f"fairseq-mh: error: {folder}/checkpoint.pt does not exist; the demo needs it\n"
    assert main(["demo", str(tmp_path)]) == 1
    assert "not a folder of binarised data" in capsys.readouterr().err
    assert main(["demo", str(tiny.folder), "--all", "--limit", "2"]) == 1
    assert "exclude each other" in capsys.readouterr().err
