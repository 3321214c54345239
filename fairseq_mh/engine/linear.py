"""Matrix products x W^T + b by the faster of two libraries."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
ROW_MULTIPLE = 64  # oneDNN compiles a kernel for each number of rows (2 ms), so rows are padded to a multiple of this


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W^T + b.

    For float32 on a CPU this calls oneDNN, which torch itself uses only in compiled models: `F.linear` calls MKL, which
    does not use AVX-512 on AMD's processors and is half as fast there. Both compute in float32.

    Args:
        x: (..., K).
        weight: (L, K).
        bias: (L,).

    Returns:
        (..., L). The oneDNN product has no gradients.
    """
    if not (ONEDNN and x.is_cpu and x.dtype == torch.float32) or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    rows = x.flatten(0, -2)
    padded = F.pad(rows, (0, 0, 0, -len(rows) % ROW_MULTIPLE))
    product = torch.ops.mkldnn._linear_pointwise(padded, weight, bias, "none", [], "")
    return product[: len(rows)].unflatten(0, x.shape[:-1])


class Linear(nn.Linear):
    """An `nn.Linear` that calls `linear`; setting the `__class__` of an existing module to this converts it."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def apply_linear(module: nn.Linear, x: Tensor) -> Tensor:
    """Return `module(x)`, computed by `linear`: (..., K) -> (..., L)."""
    return linear(x, module.weight, module.bias)
