"""x W^T + b, by the fastest library at hand."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
ROW_MULTIPLE = 64  # oneDNN compiles a kernel for each number of rows (2 ms): only for multiples of this one


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., K), (L, K), (L,) -> (..., L).

    For float32 on CPUs by oneDNN, which torch keeps for compiled models: `F.linear` goes to MKL, which leaves AVX-512
    unused on AMD's processors and is half as fast there. Both compute in float32. No gradients.
    """
    if not (ONEDNN and x.is_cpu and x.dtype == torch.float32) or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    rows = x.flatten(0, -2)
    full = F.pad(rows, (0, 0, 0, -len(rows) % ROW_MULTIPLE))
    found = torch.ops.mkldnn._linear_pointwise(full, weight, bias, "none", [], "")
    return found[: len(rows)].unflatten(0, x.shape[:-1])


class Linear(nn.Linear):
    """`nn.Linear` by that library; a module becomes one by its `__class__`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def apply_linear(module: nn.Linear, x: Tensor) -> Tensor:
    """What `module(x)` is."""
    return linear(x, module.weight, module.bias)
