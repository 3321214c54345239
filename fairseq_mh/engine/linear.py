"""Matrix products x W^T + b by the faster of two libraries."""

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch
import torch.nn.functional as F
from fairseq.modules import gelu
from torch import Tensor, nn

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
ROW_MULTIPLE = 64  # oneDNN compiles a kernel for each number of rows (2 ms), so rows are padded to a multiple of this
SWITCH = threading.Lock()  # torch's switch belongs to the whole process
IN_BF16 = ContextVar("IN_BF16", default=False)  # whether this thread is inside `bf16_products`
Event = TypeVar("Event")
Result = TypeVar("Result")


@contextmanager
def bf16_products(wanted: bool = True) -> Iterator[None]:
    """Let oneDNN round the factors of this thread's float32 products to bf16, and sum in float32, if `wanted`.

    Its numbers stay float32, and a row of a product does not depend on the number of rows. oneDNN 3.12 does this on
    CPUs with AMX only; elsewhere products stay float32, to the bit.
    """
    before = IN_BF16.set(wanted)
    try:
        yield
    finally:
        IN_BF16.reset(before)


def in_bf16_products(running: Generator[Event, None, Result], wanted: bool) -> Generator[Event, None, Result]:
    """Run a generator inside `bf16_products`, if `wanted`, but not what happens between its events."""
    try:
        while True:
            with bf16_products(wanted):
                try:
                    event = next(running)
                except StopIteration as end:
                    return end.value
            yield event
    finally:
        running.close()


def has_bf16_products() -> bool:
    """Tell whether `bf16_products` changes anything on this machine."""
    factor = torch.linspace(1, 2, ROW_MULTIPLE**2, device="cpu").view(ROW_MULTIPLE, ROW_MULTIPLE)
    with bf16_products():
        rounded = linear(factor, factor)
    return not torch.equal(rounded, linear(factor, factor))


@contextmanager
def _rounding() -> Iterator[None]:
    """Set torch's switch for one product only: small products that torch computes elsewhere would become slower."""
    matmul = getattr(torch.backends.mkldnn, "matmul", None)  # new in torch 2.9
    if not IN_BF16.get() or matmul is None:
        yield
        return
    with SWITCH:
        before, matmul.fp32_precision = matmul.fp32_precision, "bf16"
        try:
            yield
        finally:
            matmul.fp32_precision = before


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Return x W^T + b, or an activation of it.

    For float32 on a CPU this calls oneDNN, which torch itself uses only in compiled models: `F.linear` calls MKL, which
    does not use AVX-512 on AMD's processors and is half as fast there. Both compute in float32, except that oneDNN
    may round the factors to bf16 inside `bf16_products`.

    Args:
        x: (..., K).
        weight: (L, K).
        bias: (L,).
        activation: a function of each number; fairseq's gelu is computed within the product, with the same result.

    Returns:
        (..., L). The oneDNN product has no gradients.
    """
    if not (ONEDNN and x.is_cpu and x.dtype == torch.float32) or torch.is_autocast_enabled("cpu"):
        product = F.linear(x, weight, bias)
        return product if activation is None else activation(product)
    rows = x.flatten(0, -2)
    if missing := -len(rows) % ROW_MULTIPLE:
        rows = F.pad(rows, (0, 0, 0, missing))
    fused, algorithm = ("gelu", "none") if activation is gelu else ("none", "")
    with _rounding():
        product = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, fused, [], algorithm)
    product = product[: len(rows) - missing].unflatten(0, x.shape[:-1])
    return product if activation in (None, gelu) else activation(product)


class Linear(nn.Linear):
    """An `nn.Linear` that calls `linear`; setting the `__class__` of an existing module to this converts it."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def apply_linear(module: nn.Linear, x: Tensor, activation: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Return `module(x)`, or an activation of it, computed by `linear`: (..., K) -> (..., L)."""
    return linear(x, module.weight, module.bias, activation)
