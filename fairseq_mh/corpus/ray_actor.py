"""Ray actors that translate, and the actor to which they report failed devices.

If the device of an actor fails, the actor ends its process, because CUDA no longer works there. Its successor takes
another device of the same machine.
"""

import logging
import os
from collections.abc import Callable, Generator
from typing import Any

import ray

import fairseq_mh
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


class Warnings(logging.Handler):
    """Keeps the warnings of the package, because Ray shows the driver nothing of what a worker logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        self.kept.append(" ".join(record.getMessage().split()))

    def take(self) -> str:
        """Return the messages since the last call, one on each line."""
        lines, self.kept = "\n".join(self.kept), []
        return lines


class Actor:
    """A worker for Ray Data, which calls it with rows. It returns errors that the user must fix as rows, too."""

    def __init__(self, job: Job, tally: Any):
        self.job, self.tally, self.warnings = job, tally, Warnings()
        logging.getLogger(fairseq_mh.__name__).addHandler(self.warnings)
        self.translate: Callable[[Span], Generator[int, None, Chunk]] | None = None
        self.place = ray.get_runtime_context().get_node_id(), os.environ.get(DEVICES, "")
        if self.place[1]:
            self.place = ray.get(tally.assign_device.remote(self.place))
            os.environ[DEVICES] = self.place[1]  # must be set before CUDA is initialised

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            self.translate = self.translate or worker(self.job)
            chunk, sweeps = counted(self.translate(Span(**row)))
            return {**chunk._asdict(), "sweeps": sweeps, "error": "", "warnings": self.warnings.take()}
        except (UserError, OSError) as error:
            said = self.warnings.take()
            return {**Chunk(row["number"], "", "")._asdict(), "sweeps": 0, "error": one_line(error), "warnings": said}
        except RuntimeError as error:
            if device_failed(error):
                ray.get(self.tally.mark_failed.remote(self.place))
                os._exit(1)
            raise
