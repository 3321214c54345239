"""Tests of `fairseq-generate`'s shards on a machine with several devices: each takes one before it loads its model."""

import pytest
import torch

from benchmarks.pretend_device import PretendDevice
from tests.tiny_cmlm import generate

DEVICES = 2
SHARDS = {  # name -> (options, the devices that are chosen)
    "first": (("--distributed-world-size", 3), [0]),
    "last": (("--distributed-world-size", 3, "--distributed-rank", 2), [0]),
    "between": (("--distributed-world-size", 3, "--distributed-rank", 1), [1]),
    "no shards": ((), []),
    "no devices wanted": (("--distributed-world-size", 3, "--distributed-rank", 1, "--cpu"), []),
}


@pytest.mark.parametrize("name", SHARDS)
def test_a_shard_takes_its_own_device(tiny, monkeypatch, capsys, name):
    options, expected = SHARDS[name]
    chosen, moved, cuda = [], [], torch.nn.Module.cuda

    def choose(device):
        if device != torch.cuda.current_device():  # fairseq's seeding restores the current device
            chosen.append(device)

    monkeypatch.setattr(torch.nn.Module, "cuda", lambda model: moved.append(list(chosen)) or cuda(model))
    with PretendDevice(), monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "set_device", choose)
        patch.setattr(torch.cuda, "device_count", lambda: DEVICES)
        generate(tiny, "--gen-subset", "test", "--mh-sweeps", 1, "--mh-chains", 1, *options)
    assert chosen == expected
    assert moved == ([] if "--cpu" in options else [expected])
    assert "H-" in capsys.readouterr().out
