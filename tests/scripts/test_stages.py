"""Tests that a stage of the training resumes, scores its checkpoints, and keeps the best one."""

import pytest

from scripts import train_model
from scripts.train_model import Stage, run_stage

STAGE = Stage("teacher", {"help": 1}, "--dropout 0.2", "--beam 4", 10)


@pytest.fixture
def calls(monkeypatch):
    """Replace training, scoring and averaging by functions that record their calls."""
    recorded = []

    def train(data, folder, end, *options):
        folder.mkdir(exist_ok=True)
        recorded.append(f"train to {end}")
        (folder / f"checkpoint_1_{end}.pt").touch()

    def score(stage, data, checkpoint, name, out, model):
        recorded.append(f"score {checkpoint.stem} as {name}")
        return {"average": 3.0, "best": 5.0}.get(name, 4.0)

    def average(checkpoints, output):
        recorded.append(f"{[path.stem for path in checkpoints]} to {output.stem}")
        output.touch()
        return output

    monkeypatch.setattr(train_model, "fairseq_train", train)
    monkeypatch.setattr(train_model, "score", score)
    monkeypatch.setattr(train_model, "average", average)
    monkeypatch.setattr(train_model, "mixture", lambda out, *rest: out / "data")
    return recorded


def run(folder, updates):
    return run_stage(STAGE, folder, folder / "model", folder / "start.pt", updates, 5)


def test_a_stage_is_scored_regularly_and_keeps_the_best(tmp_path, calls):
    assert run(tmp_path, 25) == tmp_path / "teacher.pt"
    assert calls[:6] == [
        "train to 10",
        "score checkpoint_last as 10",
        "train to 20",
        "score checkpoint_last as 20",
        "train to 25",
        "score checkpoint_last as 25",
    ]
    assert calls[6] == "['checkpoint_1_10', 'checkpoint_1_20', 'checkpoint_1_25'] to checkpoint_average"
    assert calls[-1] == "['checkpoint_best'] to teacher"
    calls.clear()
    run(tmp_path, 25)
    assert calls == []


@pytest.mark.parametrize(
    ("reached", "updates", "expected"),
    [
        (15, 25, ["train to 20", "score checkpoint_last as 20", "train to 25"]),
        (20, 25, ["score checkpoint_last as 20", "train to 25", "score checkpoint_last as 25"]),
        (35, 25, ["score checkpoint_last as 25", "['checkpoint_2_35'] to checkpoint_average"]),
    ],
)
def test_a_stage_resumes(tmp_path, calls, reached, updates, expected):
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / f"checkpoint_2_{reached}.pt").touch()
    run(tmp_path, updates)
    assert calls[: len(expected)] == expected
