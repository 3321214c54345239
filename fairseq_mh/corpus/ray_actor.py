"""Ray actors that translate, and the actor to which they report failed devices.

If the device of an actor fails, the actor ends its process, because CUDA no longer works there. Its successor takes
another device of the same machine.
"""

import os
from collections.abc import Callable, Generator
from typing import Any

import ray

from fairseq_mh.corpus.sources import Span
from fairseq_mh.corpus.worker import Chunk, Job, worker
from fairseq_mh.errors import UserError, one_line

DEVICES = "CUDA_VISIBLE_DEVICES"  # the devices that a process sees; Ray sets it to the device of the actor


def device_failed(error: RuntimeError) -> bool:
    """Return whether an error means that the device can no longer be used."""
    return "CUDA error" in str(error)


def counted(running: Generator[int, None, Chunk]) -> tuple[Chunk, int]:
    """Run a worker to its end; return its chunk, and the number of sweeps that it has finished."""
    sweeps = 0
    while True:
        try:
            sweeps += next(running)
        except StopIteration as end:
            return end.value, sweeps


class Actor:
    """A worker for Ray Data, which calls it with rows. It returns errors that the user must fix as rows, too."""

    def __init__(self, job: Job, tally: Any):
        self.job, self.tally = job, tally
        self.translate: Callable[[Span], Generator[int, None, Chunk]] | None = None
        self.place = ray.get_runtime_context().get_node_id(), os.environ.get(DEVICES, "")
        if self.place[1]:
            self.place = ray.get(tally.assign_device.remote(self.place))
            os.environ[DEVICES] = self.place[1]  # must be set before CUDA is initialised

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            self.translate = self.translate or worker(self.job)
            chunk, sweeps = counted(self.translate(Span(**row)))
            return {**chunk._asdict(), "sweeps": sweeps, "error": ""}
        except (UserError, OSError) as error:
            return {**Chunk(row["number"], "", "")._asdict(), "sweeps": 0, "error": one_line(error)}
        except RuntimeError as error:
            if device_failed(error):
                ray.get(self.tally.mark_failed.remote(self.place))
                os._exit(1)
            raise
