"""A pretend accelerator: its tensors report another device, compute on the CPU, and refuse to mix with CPU tensors.

Inside `PretendDevice` its name is "cuda". `Misplaced` is raised if an operation mixes tensors of the two devices
(except 0-dimensional ones), if NumPy asks for the device's memory, and if the package, outside the files of
`ON_THE_HOST`, makes a tensor of one or more dimensions without naming a device. Each operation that would make the host
wait for an accelerator is reported to `waits`, with its place in the code. Real accelerators accept an index from the
CPU; this one does not, because each such index is a copy.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from benchmarks.pretend_tensor import (
    DEVICE,
    WHOLE_FUNCTIONS,
    Misplaced,
    PretendTensor,
    dispatch,
    is_pretend,
    move,
    on_device,
    pretend_tensors,
)
from benchmarks.waits import PACKAGE, Waits, current_place, report_wait, set_listener

# Files and functions that make CPU tensors on purpose: from arrays and lists, or for results that were copied back.
ON_THE_HOST = (
    "architectures/",
    "evaluation/rescorer.py",
    "files/",
    "masked_lms/dictionaries.py",
    "mcmc/record.py",
    "open_ended/causal_lm.py:judge",
    "open_ended/sampling.py:check_text",
    "translation/chains/decoders.py:fill",
    "translation/chains/decoders.py:read",
    "translation/chains/decoders.py:run_chains",
    "translation/fairseq_format.py:no_hypothesis",
    "translation/lines.py",
    "translation/ranking/reranking.py",
    "translation/results.py",
    "translation/scorer.py:evaluate",
)
FACTORIES = {
    getattr(torch, name)
    for name in ("arange", "as_tensor", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn")
} | {torch.randperm, torch.tensor, torch.zeros}
# These functions of torch.cuda would ask the driver of a real device.
DRIVER = {
    "is_available": lambda: True,
    "current_device": lambda: torch.device("cuda", 0),
    "set_device": lambda device: None,
    "manual_seed": lambda seed: None,
    "get_rng_state": lambda: None,
    "set_rng_state": lambda state: None,
}


class PretendDevice(TorchFunctionMode):
    """A context in which "cuda" is the pretend device.

    Args:
        waits: is called for each operation that makes the host wait, with its name and its place.
    """

    def __init__(self, waits: Waits | None = None):
        super().__init__()
        self.waits, self.driver = waits, patch.multiple(torch.cuda, **DRIVER)

    def __enter__(self):
        self.driver.__enter__()
        set_listener(self.waits)
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # conversion in place would not change `inner`
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        set_listener(None)
        self.driver.__exit__(*error)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs, is_own = dict(kwargs or {}), bool(args) and isinstance(args[0], PretendTensor)
        if function is Tensor.tolist and is_own:
            report_wait("tolist")
            return args[0].inner.tolist()
        if function in (Tensor.numpy, Tensor.__array__) and is_own:
            raise Misplaced(f"NumPy asks for the device's memory in {current_place()}")
        if function in (Tensor.new, Tensor.new_tensor) and is_own:
            if function is Tensor.new_tensor:
                report_wait("copy to the device")
            return on_device(function(args[0].inner, *args[1:], **kwargs))
        if function is Tensor.cuda:
            return move(args[0], DEVICE, None)
        if function in WHOLE_FUNCTIONS and next(pretend_tensors(args, kwargs), None) is not None:
            return dispatch(function, args, kwargs)
        if function is Tensor.__setitem__ and is_own and not isinstance(args[2], Tensor):
            args = (*args[:2], torch.scalar_tensor(args[2], dtype=args[0].dtype))
        if function is Tensor.to:
            return _move_to(function, args, kwargs)
        if function in FACTORIES or (isinstance(args[0] if args else None, Tensor) and not is_own):
            return _create(function, args, kwargs)
        return function(*args, **_with_real_device(kwargs))


def _with_real_device(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**kwargs, "device": DEVICE} if is_pretend(kwargs.get("device")) else kwargs


def _move_to(function: Callable, args: tuple, kwargs: dict[str, Any]) -> Tensor:
    """Run `Tensor.to`, which may move a tensor between the CPU and the pretend device."""
    other = args[1] if len(args) > 1 else kwargs.get("other")
    if isinstance(other, Tensor):
        device, dtype = other.device, other.dtype
    else:
        device, dtype, *_ = torch._C._nn._parse_to(*args[1:], **{k: v for k, v in kwargs.items() if k != "copy"})
    return function(*args, **kwargs) if device is None else move(args[0], device, dtype)


def _create(function: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Run a function that has CPU tensors or no tensors as arguments, and whose result may belong on the device."""
    if is_pretend(kwargs.get("device")):
        if function is torch.tensor or function is torch.as_tensor:
            report_wait("copy to the device")
        return on_device(function(*args, **{**kwargs, "device": "cpu"}))
    found = function(*args, **kwargs)
    if function in FACTORIES and kwargs.get("device") is None and found.dim() and not _may_be_on_host():
        raise Misplaced(f"a tensor is made without a device in {current_place()}")
    return found


def _may_be_on_host() -> bool:
    """Say whether the caller may make a CPU tensor: it is outside the package, or in `ON_THE_HOST`."""
    frame = sys._getframe(3)  # skips this function, `_create` and `__torch_function__`
    while frame is not None and frame.f_code.co_filename.startswith(str(Path(torch.__file__).parent)):
        frame = frame.f_back
    if frame is None or not frame.f_code.co_filename.startswith(PACKAGE):
        return True
    return f"{frame.f_code.co_filename[len(PACKAGE) + 1 :]}:{frame.f_code.co_name}".startswith(ON_THE_HOST)
