"""A pretend accelerator: its tensors report another device, compute on the CPU, and never mix with the CPU's.

Inside `PretendDevice` it answers to the name "cuda". An operation raises `Misplaced` where it mixes the two sides
(0-dimensional tensors aside), where NumPy asks for the device's memory, and where the package makes a tensor of one or
more dimensions without saying on which side, outside the files of `ON_THE_HOST`. Whatever makes the host wait for an
accelerator is told to `waits`, with its place in the code. Real accelerators accept an index from the CPU; this one
does not, because each is a copy.
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
    AT_ONCE,
    DEVICE,
    Misplaced,
    PretendTensor,
    dispatch,
    is_pretend,
    moved,
    on_device,
    pretend,
)
from benchmarks.waits import PACKAGE, Waits, listen, place, tell

# Files and functions that make tensors of the CPU on purpose: from arrays and lists, or for what was copied back.
ON_THE_HOST = (
    "files/",
    "masked_lms/dictionaries.py",
    "mcmc/record.py",
    "models/",
    "translation/lines.py",
    "translation/results.py",
)
ON_THE_HOST += (
    "evaluation/rescorer.py",
    "translation/decoders.py:sample",
    "translation/held.py",
    "translation/reranking.py",
    "translation/fairseq_format.py:no_hypothesis",
)
ON_THE_HOST += ("translation/rescoring.py", "open_ended/causal_lm.py:judge", "open_ended/sampling.py:check_text")
FACTORIES = {
    getattr(torch, name)
    for name in ("arange", "as_tensor", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn")
} | {torch.randperm, torch.tensor, torch.zeros}
# What is asked of the driver of a real one.
DRIVER = {
    "is_available": lambda: True,
    "current_device": lambda: torch.device("cuda", 0),
    "set_device": lambda device: None,
    "manual_seed": lambda seed: None,
    "get_rng_state": lambda: None,
    "set_rng_state": lambda state: None,
}


class PretendDevice(TorchFunctionMode):
    """While it is on, "cuda" is the pretend device.

    Args:
        waits: is told of everything that makes the host wait.
    """

    def __init__(self, waits: Waits | None = None):
        super().__init__()
        self.waits, self.driver = waits, patch.multiple(torch.cuda, **DRIVER)

    def __enter__(self):
        self.driver.__enter__()
        listen(self.waits)
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # in place, `inner` would stay what it was
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        listen(None)
        self.driver.__exit__(*error)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs, mine = dict(kwargs or {}), bool(args) and isinstance(args[0], PretendTensor)
        if function is Tensor.tolist and mine:
            tell("tolist")
            return args[0].inner.tolist()
        if function in (Tensor.numpy, Tensor.__array__) and mine:
            raise Misplaced(f"NumPy asks for the device's memory {place()}")
        if function in (Tensor.new, Tensor.new_tensor) and mine:
            if function is Tensor.new_tensor:
                tell("copy to the device")
            return on_device(function(args[0].inner, *args[1:], **kwargs))
        if function is Tensor.cuda:
            return moved(args[0], DEVICE, None)
        if function in AT_ONCE and next(pretend(args, kwargs), None) is not None:
            return dispatch(function, args, kwargs)
        if function is Tensor.__setitem__ and mine and not isinstance(args[2], Tensor):
            args = (*args[:2], torch.scalar_tensor(args[2], dtype=args[0].dtype))
        if function is Tensor.to:
            return _to(function, args, kwargs)
        if function in FACTORIES or (isinstance(args[0] if args else None, Tensor) and not mine):
            return _made(function, args, kwargs)
        return function(*args, **_without_name(kwargs))


def _without_name(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**kwargs, "device": DEVICE} if is_pretend(kwargs.get("device")) else kwargs


def _to(function: Callable, args: tuple, kwargs: dict[str, Any]) -> Tensor:
    """Run `Tensor.to`."""
    other = args[1] if len(args) > 1 else kwargs.get("other")
    if isinstance(other, Tensor):
        device, dtype = other.device, other.dtype
    else:
        device, dtype, *_ = torch._C._nn._parse_to(*args[1:], **{k: v for k, v in kwargs.items() if k != "copy"})
    return function(*args, **kwargs) if device is None else moved(args[0], device, dtype)


def _made(function: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Run a function of the CPU's tensors, or of none, whose result may be asked for on the device."""
    if is_pretend(kwargs.get("device")):
        if function is torch.tensor or function is torch.as_tensor:
            tell("copy to the device")
        return on_device(function(*args, **{**kwargs, "device": "cpu"}))
    found = function(*args, **kwargs)
    if function in FACTORIES and kwargs.get("device") is None and found.dim() and not _may_be_on_the_host():
        raise Misplaced(f"a tensor is made without a device {place()}")
    return found


def _may_be_on_the_host() -> bool:
    """Say whether whoever makes a tensor is not the package, or one of the files that may."""
    frame = sys._getframe(3)  # behind `_made` and `__torch_function__`
    while frame is not None and frame.f_code.co_filename.startswith(str(Path(torch.__file__).parent)):
        frame = frame.f_back
    if frame is None or not frame.f_code.co_filename.startswith(PACKAGE):
        return True
    return f"{frame.f_code.co_filename[len(PACKAGE) + 1 :]}:{frame.f_code.co_name}".startswith(ON_THE_HOST)
