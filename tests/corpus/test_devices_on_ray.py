"""Each Ray worker sees its own device, and avoids a failed one; logical GPUs stand in for hardware."""

import os
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs the extra `ray`")

from ray import cloudpickle

from fairseq_mh.corpus import ray_actor, ray_workers, sources, worker
from fairseq_mh.corpus.sources import Span
from fairseq_mh.corpus.tally import Tally
from fairseq_mh.corpus.worker import Chunk

GPUS = 2


class Failing(ray_actor.Actor):
    """A worker that a device fails with the first span, and whose chunks otherwise say which device it sees.

    It writes which devices Ray lets it see before it is settled on one.
    """

    def __init__(self, folder, tally):
        with (Path(folder) / "given").open("a") as file:
            file.write(f"{os.environ.get('CUDA_VISIBLE_DEVICES', 'all')}\n")
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
        yield 1  # a sweep
        return Chunk(span.number, device, "")


def chunks_by(actor, monkeypatch, folder, number):
    """Return the chunks that these workers make of `number` spans, on a machine with two logical GPUs."""
    init = ray_workers.ray.init
    monkeypatch.setattr(ray_workers.ray, "init", lambda *args, **own: init(*args, **own, num_gpus=GPUS))
    monkeypatch.setattr(ray_workers, "Actor", actor)
    spans = [Span(n, 0, 1, 0, 1, "") for n in range(number)]
    found = ray_workers.on_ray(str(folder), spans, GPUS, None, False)
    return [chunk for chunk in found if isinstance(chunk, Chunk)]


@pytest.fixture
def light_actors(monkeypatch):
    """Send Ray the actors' code instead of their modules' names, so that their processes import no fairseq."""
    monkeypatch.setattr(ray_actor, "worker", None)  # leads to the Translator; these actors translate nothing
    modules = (ray_actor, sources, worker, sys.modules[__name__])
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    yield
    for module in modules:
        cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.slow
@pytest.mark.usefixtures("light_actors")
def test_each_worker_sees_its_own_device_and_is_replaced_on_another_where_it_fails(monkeypatch, tmp_path):
    """Once: the one that follows it does not come back to that device, and its span is not lost."""
    chunks = chunks_by(Failing, monkeypatch, tmp_path, 6)
    assert sorted(chunk.number for chunk in chunks) == list(range(6))
    assert {chunk.records for chunk in chunks} == {"1"}
    assert len((tmp_path / "failed").read_text().splitlines()) == 1
    assert set((tmp_path / "given").read_text().splitlines()) == {"0", "1"}


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
