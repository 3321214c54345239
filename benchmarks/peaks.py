"""The peak rates of a device, published or measured, and the roofline that they set for a decoder."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from benchmarks.row_cost import Row
from benchmarks.timing import REPEATS, seconds
from fairseq_mh.engine import linear


class Peaks(NamedTuple):
    """The peak rates of a device in one precision."""

    operations: float  # rate of matrix products, in FLOP/s
    bandwidth: float  # rate of memory traffic, in bytes a second
    width: int  # bytes of a number


# https://glennklockwood.com/garden/processors/h100 quotes these figures of NVIDIA for the H100 SXM5, without sparsity.
# fp32 is 132 multiprocessors with 128 cores, each of which does two operations per cycle at 1.98 GHz.
H100_BANDWIDTH = 3.35e12
H100 = {
    "fp32": Peaks(66.9e12, H100_BANDWIDTH, 4),
    "tf32": Peaks(494.7e12, H100_BANDWIDTH, 4),
    "bf16": Peaks(989.4e12, H100_BANDWIDTH, 2),
    "fp16": Peaks(989.4e12, H100_BANDWIDTH, 2),
}


def product_rates(device: str = "cpu", size: int = 2048) -> dict[str, float]:
    """Return the speed of torch's own and of the package's float32 matrix products, in GFLOP/s."""
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    operations = {"matmul": lambda: a @ b, "linear": lambda: linear.linear(a, b)}
    return {
        name: 2 * size**3 / min(seconds(product) for _ in range(2 * REPEATS)) / 1e9
        for name, product in operations.items()
    }


def copy_rate(device: str = "cpu", size: int = 2**26) -> float:
    """Return the bytes a second of a copy that is larger than a CPU's caches."""
    source, target = (torch.ones(size // 4, device=device) for _ in range(2))
    return 2 * size / min(seconds(lambda: target.copy_(source)) for _ in range(2 * REPEATS))


def measured_peaks(device: str = "cpu") -> Peaks:
    """Return the rates that products and copies reach on this device in float32."""
    return Peaks(max(product_rates(device).values()) * 1e9, copy_rate(device), 4)


def peaks_of(device: str) -> tuple[str, Peaks]:
    """Return "published" or "measured", and a device's peaks in float32; published peaks are preferred."""
    if device == "cuda" and "H100" in torch.cuda.get_device_name():
        return "published", H100["fp32"]
    return "measured", measured_peaks(device)


class Roofline(NamedTuple):
    """The highest speed that a device's peaks allow for queries of a given size."""

    row: Row  # cost of a row
    peaks: Peaks  # peak rates of the device
    rows: int  # number of rows in a query

    def per_second(self) -> tuple[float, float]:
        """Return rows a second if no two operations are fused, and rows a second if each layer is one operation."""
        return self._rate(self.row.unfused), self._rate(self.row.fused)

    def _rate(self, moved: float) -> float:
        share = self.peaks.width / 4
        moving = (self.row.weights + self.rows * moved) * share / self.peaks.bandwidth
        return self.rows / max(self.rows * self.row.operations / self.peaks.operations, moving)

    def limits(self, figures: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
        """Return the lower and upper limit of the figures that have limits.

        Args:
            figures: measured figures; "engine", in rows a second, and "seconds", if "rows" is given, have limits.
        """
        low, high = self.per_second()
        limits = {"engine": (low, high)}
        if figures.get("rows"):
            limits["seconds"] = (figures["rows"] / high, figures["rows"] / low)
        return {name: limit for name, limit in limits.items() if name in figures}
