"""The Ray actor that keeps a list of failed devices.

Its process imports only this module, so it loads neither torch nor fairseq.
"""

from collections import Counter

Place = tuple[str, str]  # the Ray node ID of a machine, and a device of that machine


class Tally:
    """Keeps a list of failed devices, and assigns workers to the others."""

    def __init__(self) -> None:
        self.workers: Counter[Place] = Counter()  # number of living workers that were assigned to each device
        self.failed: set[Place] = set()

    def assign_device(self, place: Place) -> Place:
        """Return the device for a new worker: the one from Ray, or the least used other one if that has failed."""
        others = [other for other in self.workers if other[0] == place[0] and other not in self.failed]
        if place in self.failed and others:
            place = min(others, key=lambda other: self.workers[other])
        self.workers[place] += 1
        return place

    def mark_failed(self, place: Place) -> None:
        self.failed.add(place)
        self.workers[place] -= 1
