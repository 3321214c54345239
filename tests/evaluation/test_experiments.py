"""Grids, and their runs on the tiny model."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import yaml
from fairseq.data import Dictionary
from sacrebleu.metrics import BLEU

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation import runner
from fairseq_mh.evaluation.grid import read_grid
from fairseq_mh.evaluation.output import in_order, read_output
from fairseq_mh.evaluation.pieces import target_language, target_pieces
from fairseq_mh.evaluation.tables import over_seeds, summary
from fairseq_mh.evaluation.translation_bench import Translation

ROOT = Path(__file__).parents[2]
GRID = {
    "options": {"mh-sweeps": 2, "batch-size": 4},
    "seeds": [1, 2],
    "runs": [
        {"decoder": "MH", "options": {"mh-proposal-temperature": [1.0, 0.5]}},
        {"decoder": "mask-predict", "seeds": [1], "options": {"mh-decoding": "mask-predict", "print-step": True}},
    ],
}


def grid_file(tmp_path, grid=None) -> Path:
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(GRID if grid is None else grid), encoding="utf-8")
    return path


def test_a_grid_is_every_combination(tmp_path):
    runs = read_grid(grid_file(tmp_path))
    assert [(run.decoder, run.options.get("mh-proposal-temperature"), run.seed) for run in runs] == [
        ("MH", 1.0, 1),
        ("MH", 1.0, 2),
        ("MH", 0.5, 1),
        ("MH", 0.5, 2),
        ("mask-predict", None, 1),
    ]
    assert runs[-1].arguments()[-3:] == ["--mh-decoding", "mask-predict", "--print-step"]
    assert len({run.key() for run in runs}) == 5
    assert runs[0].key("other data") != runs[0].key()


NO_GRIDS = [
    [],
    {"rums": []},
    {"runs": {}},
    {"runs": []},
    {"runs": [{}]},
    {"runs": [{"decoder": "a", "b": 1}]},
    {"runs": [{"decoder": "a", "options": ["mh-sweeps"]}]},
    {"runs": [{"decoder": "a", "seeds": 3}]},
]


@pytest.mark.parametrize("grid", NO_GRIDS)
def test_what_is_no_grid(tmp_path, grid):
    with pytest.raises(UserError, match=r"grid\.yaml"):
        read_grid(grid_file(tmp_path, grid))


GRIDS = sorted((ROOT / "fairseq_mh/evaluation/grids").glob("*.yaml"))


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_the_declared_grids_are_grids(path):
    assert read_grid(path)


def test_runs_scores_and_resumes(tiny, tmp_path, monkeypatch):
    """All runs of the grid, in one table; what is finished is kept, what was stopped is run again."""
    bench = Translation(tiny.folder, tiny.folder / "checkpoint.pt", "test", None, ("--num-workers", "0"))
    runs, output = read_grid(grid_file(tmp_path))[1:], tmp_path / "results"
    folders = [runner.run_once(run, bench, output) for run in runs]
    results = runner.collect(folders, output)
    assert pl.read_csv(output / "results.csv")["bleu"].to_list() == pytest.approx(results["bleu"].to_list())
    assert results["mh_sweeps"].to_list() == ["2"] * 4
    assert results["mh_chains"].to_list() == ["3", "3", "3", "1"]
    found = read_output(folders[0] / "output.txt")
    pairs = in_order(found.hypotheses, found.references)
    assert results["bleu"][0] == pytest.approx(BLEU().corpus_score(pairs[0], [pairs[1]]).score)
    assert results["rows"].to_list() == [read_output(folder / "output.txt").rows for folder in folders]
    curves = pl.read_csv(output / "curves.csv").filter(pl.col("run") == folders[0].name)
    assert curves["sweep"].to_list() == [0, 1, 2]
    assert curves["rows"][-1] == results["rows"][0]
    table = over_seeds(results)
    assert table["seeds"].to_list() == [1, 2, 1]
    assert "mh_proposal_temperature" in table.columns
    assert "mask-predict" in summary(results)
    with pytest.raises(UserError, match="--mh-chains belongs into the grid"):
        runner.run_once(runs[0], replace(bench, arguments=("--mh-chains", "2")), output)
    folders[0].rename(folders[0].with_suffix(".part"))  # as if stopped in the midst of it
    asked = []
    execute = Translation.execute
    monkeypatch.setattr(Translation, "execute", lambda self, run, to: (asked.append(run), execute(self, run, to)))
    assert [runner.run_once(run, bench, output) for run in runs] == folders
    assert asked == runs[:1]


def test_pieces_are_fairseqs_symbols(tiny):
    for folder in (tiny.folder, ROOT / "models" / "libreoffice-de-en"):
        (path,) = folder.glob(f"dict.{target_language(folder)}.txt")
        assert target_pieces(folder) == Dictionary.load(str(path)).symbols


def test_a_failing_run_says_why(tiny, tmp_path):
    grid = {"runs": [{"decoder": "MH", "options": {"mh-sweeps": -1}}]}
    command = [sys.executable, "-m", "fairseq_mh.cli.experiments", str(grid_file(tmp_path, grid))]
    command += [str(tiny.folder), "--output", str(tmp_path / "results"), "--", "--num-workers", "0"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "must not be negative" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "results" / "results.csv").exists()
