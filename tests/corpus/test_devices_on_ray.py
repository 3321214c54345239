"""Ray's workers on a machine with logical GPUs, which need no hardware: each of them sees its own."""

import os
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="without the extra ray")

from fairseq_mh.corpus import ray_workers
from fairseq_mh.corpus.sources import Span
from fairseq_mh.corpus.worker import Chunk

GPUS = 2


class Seeing:
    """A worker that waits for the others, and whose chunks say which devices it sees."""

    def __init__(self, folder, tally):
        self.folder, self.seen = Path(folder), os.environ.get("CUDA_VISIBLE_DEVICES", "all")

    def __call__(self, row):
        (self.folder / str(os.getpid())).touch()
        ends = time.monotonic() + 60
        while len(list(self.folder.iterdir())) < GPUS and time.monotonic() < ends:
            time.sleep(0.1)
        return {**Chunk(row["number"], self.seen, "")._asdict(), "error": ""}


@pytest.mark.slow
def test_each_worker_sees_its_own_device(monkeypatch, tmp_path):
    init = ray_workers.ray.init
    monkeypatch.setattr(ray_workers.ray, "init", lambda *args, **own: init(*args, **own, num_gpus=GPUS))
    monkeypatch.setattr(ray_workers, "Actor", Seeing)
    spans = [Span(number, 0, 1, 0, 1, "") for number in range(4)]
    chunks = list(ray_workers.on_ray(str(tmp_path), spans, GPUS, None, False, lambda ended, total: None))
    assert len(chunks) == len(spans)
    assert {chunk.records for chunk in chunks} == {"0", "1"}
