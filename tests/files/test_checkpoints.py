"""Stock CMLMs from other users, with the further contents that fairseq 0.10 to 0.12 wrote to checkpoints."""

import json
from argparse import Namespace

import numpy as np
import pytest
import torch
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from omegaconf import OmegaConf

from tests.tiny_cmlm import cli, trace_of


def of_0_10(state: dict) -> dict:
    """Return a checkpoint with a namespace of arguments, training state, and the best score as a numpy scalar."""
    extra = {
        "metrics": [("default", []), ("train", [(20, "loss", "AverageMeter", {"val": 3.1, "sum": 9.0, "count": 3})])],
        "previous_training_time": 12.5,
        "train_iterator": {"epoch": 3, "iterations_in_epoch": 0, "shuffle": True},
        "val_loss": np.float64(5.25),
        "best": np.float64(5.25),
    }
    history = [{"criterion_name": "LabelSmoothedDualImitationCriterion", **state["optimizer_history"][0]}]
    args = Namespace(**vars(state["cfg"]["model"]), criterion="nat_loss", optimizer="adam", noise="random_mask", seed=1)
    later = {"args": args, "optimizer_history": history, "extra_state": extra, "last_optimizer_state": {}}
    return {"model": state["model"], **later}


def of_0_12(state: dict) -> dict:
    """Return a checkpoint with Hydra's configuration as plain containers."""
    before = of_0_10(state)
    cfg = OmegaConf.to_container(convert_namespace_to_omegaconf(before["args"]), resolve=True, enum_to_str=True)
    return {**before, "args": None, "cfg": cfg, "task_state": {}}


@pytest.mark.parametrize("written", [of_0_10, of_0_12])
def test_older_checkpoints_decode_to_the_same_energies(tiny, tmp_path, written):
    state = torch.load(tiny.folder / "checkpoint.pt", weights_only=True)
    path, options = tmp_path / "older.pt", ("--gen-subset", "test", "--mh-sweeps", "2")
    torch.save(written(state), path)
    found = cli("generate", tiny, "--mh-trace", tmp_path / "trace", *options, checkpoint=path)
    assert found.returncode == 0, found.stderr[-2000:]
    expected = trace_of(tiny, tmp_path / "expected", *options, double=False)
    records = [json.loads(line) for line in (tmp_path / "trace").read_text().splitlines()]
    for record, other in zip(records, expected, strict=True):
        assert record["tokens"] == other["tokens"]
        assert record["energy"] == pytest.approx(other["energy"], abs=1e-5)
