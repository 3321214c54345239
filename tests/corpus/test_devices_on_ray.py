"""Ray's workers on a machine with logical GPUs, which need no hardware: each of them sees its own."""

import os
import time

import pytest

pytest.importorskip("ray", reason="without the extra ray")

from fairseq_mh.corpus import ray_workers
from fairseq_mh.corpus.sources import Span
from fairseq_mh.corpus.worker import Chunk

GPUS = 2


class Seeing:
    """A worker whose chunks say which devices it sees, and who it is."""

    def __init__(self, job, tally):
        self.seen = os.environ.get("CUDA_VISIBLE_DEVICES", "all")

    def __call__(self, row):
        time.sleep(0.5)  # so that no worker makes all chunks
        return {**Chunk(row["number"], self.seen, str(os.getpid()))._asdict(), "error": ""}


@pytest.mark.slow
@pytest.mark.parametrize("cpu", [False, True])
def test_each_worker_sees_its_own_device(monkeypatch, cpu):
    """And with --cpu, which leaves GPUs alone, none."""
    init = ray_workers.ray.init
    monkeypatch.setattr(ray_workers.ray, "init", lambda *args, **own: init(*args, **own, num_gpus=GPUS))
    monkeypatch.setattr(ray_workers, "Actor", Seeing)
    spans = [Span(number, 0, 1, 0, 1, "") for number in range(8)]
    chunks = list(ray_workers.on_ray(None, spans, GPUS, None, cpu, lambda ended, total: None))
    workers = {(chunk.records, chunk.counts) for chunk in chunks}
    assert len(chunks) == len(spans)
    assert len({process for _, process in workers}) == GPUS
    assert sorted(devices for devices, _ in workers) == (["", ""] if cpu else ["0", "1"])
