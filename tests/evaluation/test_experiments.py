"""Tests of grids and of their runs on the tiny model."""

import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import yaml
from sacrebleu.metrics import BLEU
from tqdm import tqdm

from fairseq_mh.cli.main import main
from fairseq_mh.errors import UserError
from fairseq_mh.evaluation import runner
from fairseq_mh.evaluation.grid import GRIDS, GridRun, find_grid, grid_names, read_grid
from fairseq_mh.evaluation.tables import over_seeds, results_table
from fairseq_mh.evaluation.translation_bench import TranslationBench, copy_output
from fairseq_mh.files.chunks import lock
from fairseq_mh.files.output import in_order, read_output
from tests.cli.in_process import called
from tests.programs import programs
from tests.tiny_cmlm import write_checkpoint

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


INVALID_GRIDS = [
    [],
    {"rums": []},
    {"runs": {}},
    {"runs": []},
    {"runs": [{}]},
    {"runs": [{"decoder": "a", "b": 1}]},
    {"runs": [{"decoder": "a", "options": ["mh-sweeps"]}]},
    {"runs": [{"decoder": "a", "seeds": 3}]},
    {"runs": [{"decoder": "a", "options": {"lenpen": [1, 2]}}]},
]


@pytest.mark.parametrize("grid", INVALID_GRIDS)
def test_invalid_grids_are_refused(tmp_path, grid):
    with pytest.raises(UserError, match=r"grid\.yaml"):
        read_grid(grid_file(tmp_path, grid))


@pytest.mark.parametrize("path", sorted(GRIDS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_declared_grids_are_grids(path):
    assert read_grid(path)


def test_a_grid_has_a_name_or_a_path(tmp_path):
    assert {"table1", "demo", "measure"} <= set(grid_names())
    assert find_grid("table1") == GRIDS / "table1.yaml"
    assert find_grid(str(grid_file(tmp_path))) == tmp_path / "grid.yaml"
    with pytest.raises(UserError, match=r"no grid tabel1; did you mean table1.*figures, measure"):
        find_grid("tabel1")


def test_the_data_folder_stands_for_itself_in_a_grid(tmp_path, tiny, capsys):
    run = {"decoder": "MH", "options": {"mh-energy": "norm:0.5,{data}/electric.pt:2"}}
    path = grid_file(tmp_path, {"runs": [run]})
    assert read_grid(path, Path("a/b"))[0].options["mh-energy"] == "norm:0.5,a/b/electric.pt:2"
    assert main(["experiments", str(path), str(tiny.folder), "--output", str(tmp_path / "out")]) == 1
    assert f"{tiny.folder}/electric.pt does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()  # nothing was decoded


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        (None, (), "refs.en cannot be read: No such file or directory"),
        (b"\xf6\n", (), "refs.en cannot be read: 'utf-8' codec"),
        (b"a\nb\n", (), "refs.en has 2 lines for 6 sentences of test; it needs one for each"),
        (b"a\nb\n", ("--limit", "3"), "refs.en has 2 lines for 3 sentences of test"),
    ],
)
def test_references_that_cannot_serve_are_refused_before_anything_is_decoded(
    tiny, tmp_path, capsys, content, more, message
):
    if content is not None:
        (tmp_path / "refs.en").write_bytes(content)
    given = ("--reference", tmp_path / "refs.en", "--output", tmp_path / "out", *more)
    assert main(["experiments", str(grid_file(tmp_path)), str(tiny.folder), *map(str, given)]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_the_results_name_is_not_given_after_the_dashes(tiny, tmp_path, capsys):
    given = ("--output", tmp_path / "out", "--", "--path", "other.pt")
    assert main(["experiments", str(grid_file(tmp_path)), str(tiny.folder), *map(str, given)]) == 1
    assert "give --path before --" in capsys.readouterr().err


def test_a_folder_that_another_process_writes_is_refused(tiny, tmp_path, capsys):
    given = ("--output", tmp_path / "out")
    with lock(tmp_path / "out"):
        assert main(["experiments", str(grid_file(tmp_path)), str(tiny.folder), *map(str, given)]) == 1
    assert "another process is writing to" in capsys.readouterr().err


def test_models_are_rows_of_a_table():
    """A mean over checkpoints, with a deviation, would look like one over seeds."""
    runs = [{"decoder": "MH", "seed": 1, "path": path, "bleu": bleu} for path, bleu in (("a.pt", 20.0), ("b.pt", 30.0))]
    lines = results_table(pl.DataFrame(runs)).splitlines()
    assert [line.split()[:4] for line in lines[2:]] == [["MH", "a.pt", "1", "20.00"], ["MH", "b.pt", "1", "30.00"]]


@pytest.mark.slow
@pytest.mark.usefixtures("forked_runs")
def test_runs_scores_and_resumes(tiny, tmp_path, monkeypatch):
    """All runs of the grid are in one table. Finished runs are kept, and an interrupted run is repeated."""
    bench = TranslationBench(tiny.folder, tiny.folder / "checkpoint.pt", "test", None, ("--num-workers", "0"))
    runs, output = read_grid(grid_file(tmp_path))[1:], tmp_path / "results"
    folders = [runner.run_once(run, bench, output) for run in runs]
    results = runner.collect(folders, output)
    assert pl.read_csv(output / "results.csv")["bleu"].to_list() == pytest.approx(results["bleu"].to_list())
    assert results["mh_sweeps"].to_list() == ["2", "2", "2", "-"]  # mask-predict has no sweeps
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
    assert "mask-predict" in results_table(results)
    with pytest.raises(UserError, match="--mh-chains belongs in the grid"):
        runner.run_once(runs[0], replace(bench, arguments=("--mh-chains", "2")), output)
    folders[0].rename(folders[0].with_suffix(".part"))  # as if the run was interrupted
    done = []
    execute = TranslationBench.execute
    monkeypatch.setattr(TranslationBench, "execute", lambda self, run, to: (done.append(run), execute(self, run, to)))
    assert [runner.run_once(run, bench, output) for run in runs] == folders
    assert done == runs[:1]


def test_tables_have_no_value_of_a_setting_that_a_decoder_does_not_read(tmp_path):
    """Before, mask-predict had 6 sweeps in every table with other numbers of sweeps."""
    folders = [tmp_path / "runs" / f"{decoding}{sweeps}" for decoding in ("mh", "mask-predict") for sweeps in (6, 9)]
    for folder in folders[:3]:
        decoding, sweeps = folder.name[:-1], folder.name[-1]
        settings = {"mh_decoding": decoding, "mh_sweeps": sweeps, "mh_init": "sample", "iter_decode_max_iter": "9"}
        folder.mkdir(parents=True)
        (folder / "row.json").write_text(json.dumps({"decoder": decoding, "seed": 1, "bleu": 20.0, **settings}))
        (folder / "curve.csv").write_text("sweep\n0\n")
    table = runner.collect(folders[:3], tmp_path)
    assert pl.read_csv(tmp_path / "results.csv", infer_schema=False)["mh_sweeps"].to_list() == ["6", "9", "-"]
    assert table.select("mh_init", "iter_decode_max_iter").row(2) == ("-", "9")
    assert [line.split()[:2] for line in results_table(table).splitlines()[2:]] == [
        ["mh", "6"],
        ["mh", "9"],
        ["mask-predict", "-"],
    ]


def test_a_failing_run_says_why(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(programs().bin / "python"))  # its imports are done
    grid = {"runs": [{"decoder": "MH", "options": {"mh-sweeps": -1}}]}
    output = ("--output", tmp_path / "results", "--", "--num-workers", "0")
    result = called("experiments", grid_file(tmp_path, grid), tiny.folder, *output)
    assert result.returncode == 1
    assert "must not be negative" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "results" / "results.csv").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("forked_runs")
def test_the_first_sentences_have_their_own_translations(tiny, tmp_path, capsys):
    """--limit decodes only the first sentences; they keep their numbers and so their random streams."""
    grid = {"runs": [{"decoder": "MH", "options": {"mh-sweeps": 2}}]}
    found = []
    for more in ((), ("--limit", "2")):
        command = ["experiments", str(grid_file(tmp_path, grid)), str(tiny.folder), "--output", str(tmp_path / "out")]
        assert main([*command, *more, "--", "--num-workers", "0"]) == 0
        assert capsys.readouterr().out.splitlines()[-1].startswith(f"{tmp_path}/out/results.csv is written: 1 runs")
        table = pl.read_csv(tmp_path / "out" / "results.csv")
        assert table["sentences"].to_list() == [2 if more else 6]
        assert table["data"].to_list() == [tiny.folder.name]
        found.append(read_output(tmp_path / "out" / "runs" / table["run"][0] / "output.txt"))
        assert {path.name for path in (tmp_path / "out").iterdir()} == {"results.csv", "curves.csv", "runs"}
    assert found[1].hypotheses == {number: found[0].hypotheses[number] for number in (0, 1)}
    assert found[1].references == {number: found[0].references[number] for number in (0, 1)}


def test_content_and_not_the_path_decides_the_identity(tiny, tmp_path):
    """A checkpoint with new content changes the identity; the same checkpoint in another folder does not."""
    for name in ("one", "other"):
        shutil.copytree(tiny.folder, tmp_path / name / "data")
    one, other = (
        TranslationBench(tmp_path / name / "data", tmp_path / name / "data/checkpoint.pt", "test", None, ())
        for name in ("one", "other")
    )
    assert one.identity() == other.identity()
    write_checkpoint(one.checkpoint, tiny.dictionary, scale=1.3, share_all_embeddings=True)
    assert replace(one).identity() != other.identity()


def test_limits_decide_the_identity(tiny):
    whole = TranslationBench(tiny.folder, tiny.folder / "checkpoint.pt", "test", None, ())
    identities = {replace(whole, limit=limit).identity() for limit in (None, 2, 3)}
    assert len(identities) == 3


def test_the_settings_of_a_preset_are_recorded(tiny):
    bench = TranslationBench(tiny.folder, tiny.folder / "checkpoint.pt", "test", None, ())
    settings = bench.settings(GridRun("", "fast", {"mh-preset": "fast", "mh-sweeps": 4}, 1))
    assert settings["mh_energy"] == "two-stream"
    assert settings["iter_decode_with_beam"] == "5"
    assert settings["mh_sweeps"] == 4  # the grid's option replaces the preset's
    with pytest.raises(UserError, match="did you mean fast"):
        bench.settings(GridRun("", "fast", {"mh-preset": "fats"}, 1))


PRINTED = """2026-01-01 | INFO | loading

S-1\tb
H-1\t-0.5\ta [3/4 sweeps]
H-0\t-0.5\tb
2026-01-01 | INFO | Translated 2 sentences (3 tokens) in 1.5s
"""


def test_sentences_are_counted_while_a_run_prints():
    bar, kept = tqdm(disable=False, file=io.StringIO()), io.StringIO()
    last = copy_output(io.StringIO(PRINTED), kept, bar)
    assert bar.n == 2
    lines = kept.getvalue().splitlines()
    assert [line.split("\t")[0] for line in lines[1:4]] == ["S-1", "H-1", "H-0"]
    assert len(lines) == 5
    assert last == lines[-1]


def test_an_option_without_a_value_is_refused(tmp_path):
    (tmp_path / "g.yaml").write_text("runs: [{decoder: MH, options: {mh-sweeps: []}}]")
    with pytest.raises(UserError, match="mh-sweeps has an empty list of values"):
        read_grid(tmp_path / "g.yaml")
