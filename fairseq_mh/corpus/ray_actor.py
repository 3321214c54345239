"""What works on Ray: actors that translate, and the one that they tell how far they are and which devices failed.

An actor whose device fails ends itself, because nothing of CUDA works in its process from then on. The next one takes
another device of its machine.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Generator
from typing import Any

import ray

from fairseq_mh.corpus.sources import Span
from fairseq_mh.corpus.worker import Chunk, Job, worker
from fairseq_mh.errors import UserError, one_line
from fairseq_mh.mcmc.chain import convert_events, finish

SECONDS = 2  # between two reports of progress
DEVICES = "CUDA_VISIBLE_DEVICES"  # which a process sees: Ray sets it to an actor's own
Place = tuple[str, str]  # a machine, and a device of it


def device_failed(error: RuntimeError) -> bool:
    """Return whether an error says that a device can be used no more."""
    return "CUDA error" in str(error)


class Actor:
    """A worker to Ray Data, which speaks of rows; what the user must mend comes back as one, too."""

    def __init__(self, job: Job, tally: Any):
        self.job, self.tally, self.ended, self.told = job, tally, 0, time.monotonic()
        self.translate: Callable[[Span], Generator[int, None, Chunk]] | None = None
        self.place = ray.get_runtime_context().get_node_id(), os.environ.get(DEVICES, "")
        if self.place[1]:
            self.place = ray.get(tally.settled.remote(self.place))
            os.environ[DEVICES] = self.place[1]  # before anything asks for a device

    def tell(self, ended: int) -> list[int]:
        """Count sweeps that have ended, and tell the tally of them now and then."""
        self.ended += ended
        if time.monotonic() - self.told > SECONDS:
            self.tally.add.remote(self.ended)
            self.ended, self.told = 0, time.monotonic()
        return []

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            self.translate = self.translate or worker(self.job)
            chunk = finish(convert_events(self.translate(Span(**row)), self.tell))
            return {**chunk._asdict(), "error": ""}
        except (UserError, OSError) as error:
            return {**Chunk(row["number"], "", "")._asdict(), "error": one_line(error)}
        except RuntimeError as error:
            if device_failed(error):
                ray.get(self.tally.lose.remote(self.place))
                os._exit(1)
            raise


class Tally:
    """Counts the sweeps that all workers have ended, for the driver's progress bar, and knows which devices failed."""

    def __init__(self) -> None:
        self.ended = 0
        self.workers: Counter[Place] = Counter()  # by the device that they began with, those that it lost left out
        self.failed: set[Place] = set()

    def add(self, ended: int) -> None:
        self.ended += ended

    def value(self) -> int:
        return self.ended

    def settled(self, place: Place) -> Place:
        """Return where a worker that was given this device is to be: where it failed, at the idlest other one."""
        others = [other for other in self.workers if other[0] == place[0] and other not in self.failed]
        if place in self.failed and others:
            place = min(others, key=lambda other: self.workers[other])
        self.workers[place] += 1
        return place

    def lose(self, place: Place) -> None:
        self.failed.add(place)
        self.workers[place] -= 1
