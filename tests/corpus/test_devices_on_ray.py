"""Each Ray worker sees its own device, and avoids a failed one; logical GPUs stand in for hardware."""

import os
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs the extra `ray`")

from fairseq_mh.corpus import ray_actor, ray_workers
from fairseq_mh.corpus.sources import Span
from fairseq_mh.corpus.tally import Tally
from fairseq_mh.corpus.worker import Chunk

GPUS = 2


class DeviceReporter:
    """A worker that waits for the others, and writes into its chunks which devices it sees."""

    def __init__(self, folder, tally):
        self.folder, self.devices = Path(folder), os.environ.get("CUDA_VISIBLE_DEVICES", "all")

    def __call__(self, row):
        (self.folder / str(os.getpid())).touch()
        ends = time.monotonic() + 60
        while len(list(self.folder.iterdir())) < GPUS and time.monotonic() < ends:
            time.sleep(0.1)
        return {**Chunk(row["number"], self.devices, "")._asdict(), "error": ""}


class FailingActor(ray_actor.Actor):
    """A worker that fails on device 0 at the first span, and otherwise writes into its chunks which device it sees."""

    def __init__(self, folder, tally):
        super().__init__(folder, tally)
        self.failed = Path(folder) / "failed"
        self.translate = self.use_device

    def use_device(self, span):
        device = os.environ["CUDA_VISIBLE_DEVICES"]
        if device == "0":
            with self.failed.open("a") as file:
                file.write(f"{span.number}\n")
            raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
        ends = time.monotonic() + 60
        while not self.failed.exists() and time.monotonic() < ends:
            time.sleep(0.1)
        return Chunk(span.number, device, "")


def chunks_by(actor, monkeypatch, folder, number):
    """Return the chunks that these workers make of `number` spans, on a machine with two logical GPUs."""
    init = ray_workers.ray.init
    monkeypatch.setattr(ray_workers.ray, "init", lambda *args, **own: init(*args, **own, num_gpus=GPUS))
    monkeypatch.setattr(ray_workers, "Actor", actor)
    spans = [Span(n, 0, 1, 0, 1, "") for n in range(number)]
    return list(ray_workers.on_ray(str(folder), spans, GPUS, None, False, lambda ended, total: None))


@pytest.mark.slow
def test_each_worker_sees_its_own_device(monkeypatch, tmp_path):
    chunks = chunks_by(DeviceReporter, monkeypatch, tmp_path, 4)
    assert sorted(chunk.number for chunk in chunks) == list(range(4))
    assert {chunk.records for chunk in chunks} == {"0", "1"}


@pytest.mark.slow
def test_a_worker_whose_device_fails_is_replaced_on_another(monkeypatch, tmp_path):
    """The device fails only once, because the next worker does not use it, and the span is not lost."""
    chunks = chunks_by(FailingActor, monkeypatch, tmp_path, 6)
    assert sorted(chunk.number for chunk in chunks) == list(range(6))
    assert {chunk.records for chunk in chunks} == {"1"}
    assert len((tmp_path / "failed").read_text().splitlines()) == 1


def test_a_new_worker_is_assigned_to_the_least_used_device():
    tally, here = Tally(), [("a", "0"), ("a", "1"), ("a", "2")]
    assert [tally.assign_device(place) for place in (*here, ("b", "0"))] == [*here, ("b", "0")]
    tally.mark_failed(("a", "0"))
    assert [tally.assign_device(("a", "0")) for _ in range(2)] == [("a", "1"), ("a", "2")]
    tally.mark_failed(("b", "0"))
    assert tally.assign_device(("b", "0")) == ("b", "0")  # its machine has no other device, so it is tried again


def test_errors_of_a_failed_device_are_recognised():
    assert ray_actor.device_failed(RuntimeError("CUDA error: unspecified launch failure"))
    assert not ray_actor.device_failed(RuntimeError("size mismatch"))
