"""Stock CMLMs from other users, with the further contents that fairseq 0.10 to 0.12 wrote to checkpoints."""

import json
from argparse import Namespace
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from omegaconf import OmegaConf

from fairseq_mh import Translator
from fairseq_mh.errors import UserError
from tests.tiny_cmlm import cli, generated_here, refused, trace_of


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


def with_extra(tiny, path, content) -> Path:
    state = torch.load(tiny.folder / "checkpoint.pt", weights_only=True)
    torch.save(state | {"extra_state": state["extra_state"] | {"kept": content}}, path)
    return path


PLAIN = (np.int64(3), np.bool_(True), np.str_("é"), np.bytes_(b"x\xff"), np.float16(1), np.uint8(3), np.complex64(1j))
PLAIN += (np.longdouble(2), np.datetime64("2020-01-01"), np.arange(3), np.ones((2, 3), order="F"), np.zeros(0))
PLAIN += (np.array(["a", "b"]), np.array([1, "a", None], dtype=object), np.zeros(2, dtype=[("a", "i4"), ("b", "f8")]))
PLAIN += (np.random.RandomState(1).get_state(), frozenset({1}), np.dtype("i4"))


def test_plain_data_of_numpy_in_a_checkpoint_is_loaded(tiny, tmp_path):
    path = with_extra(tiny, tmp_path / "checkpoint.pt", PLAIN)
    translator = Translator.load(tiny.folder, path=str(path), source_lang="de", target_lang="en", sweeps=1)
    assert translator.translate(["a b"]) != [""]


FOREIGN = {"collections.deque": deque([1]), "pathlib.PosixPath": Path("a"), "numpy.random": np.random.default_rng(1)}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_plain_data_is_named(tiny, tmp_path, name):
    path = with_extra(tiny, tmp_path / "checkpoint.pt", FOREIGN[name])
    with pytest.raises(UserError) as raised:
        Translator.load(tiny.folder, path=str(path), source_lang="de", target_lang="en")
    for message in (str(raised.value), refused(generated_here(tiny, "--gen-subset", "test", checkpoint=path))):
        assert f"the checkpoint holds {name}" in message
        assert "not plain data" in message
        assert "weights_only" not in message
