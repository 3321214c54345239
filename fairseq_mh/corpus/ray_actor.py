"""Ray actors that translate, and the actor to which they report finished sweeps and failed devices.

If the device of an actor fails, the actor ends its process, because CUDA no longer works there. Its successor takes
another device of the same machine.
"""

import os
import time
from collections.abc import Callable, Generator
from typing import Any

import ray

from fairseq_mh.corpus.sources import Span
from fairseq_mh.corpus.worker import Chunk, Job, worker
from fairseq_mh.errors import UserError, one_line
from fairseq_mh.mcmc.chain import convert_events, finish

REPORT_SECONDS = 2  # between two reports of progress
DEVICES = "CUDA_VISIBLE_DEVICES"  # the devices that a process sees; Ray sets it to the device of the actor


def device_failed(error: RuntimeError) -> bool:
    """Return whether an error means that the device can no longer be used."""
    return "CUDA error" in str(error)


class Actor:
    """A worker for Ray Data, which calls it with rows. It returns errors that the user must fix as rows, too."""

    def __init__(self, job: Job, tally: Any):
        self.job, self.tally, self.ended, self.reported = job, tally, 0, time.monotonic()
        self.translate: Callable[[Span], Generator[int, None, Chunk]] | None = None
        self.place = ray.get_runtime_context().get_node_id(), os.environ.get(DEVICES, "")
        if self.place[1]:
            self.place = ray.get(tally.assign_device.remote(self.place))
            os.environ[DEVICES] = self.place[1]  # must be set before CUDA is initialised

    def report(self, ended: int) -> list[int]:
        """Count sweeps that have ended, and report them to the tally every few seconds."""
        self.ended += ended
        if time.monotonic() - self.reported > REPORT_SECONDS:
            self.tally.add.remote(self.ended)
            self.ended, self.reported = 0, time.monotonic()
        return []

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            self.translate = self.translate or worker(self.job)
            chunk = finish(convert_events(self.translate(Span(**row)), self.report))
            return {**chunk._asdict(), "error": ""}
        except (UserError, OSError) as error:
            return {**Chunk(row["number"], "", "")._asdict(), "error": one_line(error)}
        except RuntimeError as error:
            if device_failed(error):
                ray.get(self.tally.mark_failed.remote(self.place))
                os._exit(1)
            raise
