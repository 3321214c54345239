"""A pretend accelerator: its tensors report another device, compute on the CPU, and never mix with the CPU's.

Inside `PretendDevice` it answers to the name "cuda". An operation raises `Misplaced` where it mixes the two sides
(0-dimensional tensors aside), where NumPy asks for the device's memory, and where the package makes a tensor of one or
more dimensions without saying on which side, outside the files of `ON_THE_HOST`. Whatever makes the host wait for an
accelerator is told to `waits`, with its place in the code. Real accelerators accept an index from the CPU; this one
does not, because each is a copy.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

import fairseq_mh

DEVICE = torch.device("meta")  # what its tensors report: torch knows it without hardware, and computes nothing on it
ATEN = torch.ops.aten
PACKAGE = str(Path(fairseq_mh.__file__).parent)
# Files and functions that make tensors of the CPU on purpose: from arrays and lists, or for what was copied back.
ON_THE_HOST = (
    "files/",
    "masked_lms/dictionaries.py",
    "mcmc/record.py",
    "models/",
    "translation/results.py",
    "translator.py",
)
ON_THE_HOST += (
    "evaluation/rescorer.py",
    "translation/decoders.py:sample",
    "translation/held.py",
    "translation/reranking.py",
    "translation/generator.py:_nothing",
)
ON_THE_HOST += ("translation/rescoring.py", "open_ended/causal_lm.py:judge", "open_ended/sampling.py:check_text")
FACTORIES = {
    getattr(torch, name)
    for name in ("arange", "as_tensor", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn")
} | {torch.randperm, torch.tensor, torch.zeros}
# In parts, these make numbers into tensors of DEVICE, which hold nothing.
AT_ONCE = (torch.where, Tensor.where, F.scaled_dot_product_attention)
# Operations whose result has a shape that only the device knows.
DATA_DEPENDENT = {
    ATEN.nonzero.default: "nonzero",
    ATEN.masked_select.default: "a mask as index",
    ATEN._unique2.default: "unique",
    ATEN.unique_consecutive.default: "unique",
    ATEN.unique_dim.default: "unique",
}
# What is asked of the driver of a real one.
DRIVER = {
    "is_available": lambda: True,
    "current_device": lambda: torch.device("cuda", 0),
    "set_device": lambda device: None,
    "manual_seed": lambda seed: None,
    "get_rng_state": lambda: None,
    "set_rng_state": lambda state: None,
}

Waits = Callable[[str, str], object]  # (what made the host wait, where: file and line) -> nothing


class Misplaced(RuntimeError):
    """A tensor is on the wrong side."""


class PretendTensor(torch.Tensor):
    """A tensor of the pretend device; `inner` holds its numbers."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> "PretendTensor":
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, inner.size(), device=DEVICE, **layout)
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return _dispatch(operation, args, dict(kwargs or {}))

    def __repr__(self, **_) -> str:
        return f"PretendTensor({self.inner})"


class PretendDevice(TorchFunctionMode):
    """While it is on, "cuda" is the pretend device.

    Args:
        waits: is told of everything that makes the host wait.
    """

    told: Waits | None = None  # by the device that is on

    def __init__(self, waits: Waits | None = None):
        super().__init__()
        self.waits, self.driver = waits, patch.multiple(torch.cuda, **DRIVER)

    def __enter__(self):
        self.driver.__enter__()
        PretendDevice.told = staticmethod(self.waits) if self.waits else None
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # in place, `inner` would stay what it was
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        PretendDevice.told = None
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
            return _moved(args[0], DEVICE, None)
        if function in AT_ONCE and next(_pretend(args, kwargs), None) is not None:
            return _dispatch(function, args, kwargs)
        if function is Tensor.__setitem__ and mine and not isinstance(args[2], Tensor):
            args = (*args[:2], torch.scalar_tensor(args[2], dtype=args[0].dtype))
        if function is Tensor.to:
            return _to(function, args, kwargs)
        if function in FACTORIES or (isinstance(args[0] if args else None, Tensor) and not mine):
            return _made(function, args, kwargs)
        return function(*args, **_without_name(kwargs))


def place() -> str:
    """Return the innermost line of the package, or of what it calls, that is at work now."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            return f"{frame.f_code.co_filename[len(PACKAGE) + 1 :]}:{frame.f_lineno}"
        frame = frame.f_back
    return "outside"


def tell(what: str) -> None:
    """Say that the host waits for the device."""
    if PretendDevice.told:
        PretendDevice.told(what, place())


def is_pretend(device: Any) -> bool:
    return device is not None and torch.device(device).type in ("cuda", DEVICE.type)


def on_device(tensor: Tensor) -> PretendTensor:
    """Return a CPU tensor's numbers on the device."""
    return PretendTensor(tensor.detach())


def _without_name(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**kwargs, "device": DEVICE} if is_pretend(kwargs.get("device")) else kwargs


def _to(function: Callable, args: tuple, kwargs: dict[str, Any]) -> Tensor:
    """Run `Tensor.to`."""
    other = args[1] if len(args) > 1 else kwargs.get("other")
    if isinstance(other, Tensor):
        device, dtype = other.device, other.dtype
    else:
        device, dtype, *_ = torch._C._nn._parse_to(*args[1:], **{k: v for k, v in kwargs.items() if k != "copy"})
    return function(*args, **kwargs) if device is None else _moved(args[0], device, dtype)


def _moved(tensor: Tensor, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    """Return a tensor on this side, in this dtype."""
    there, here = is_pretend(device), isinstance(tensor, PretendTensor)
    if there and not here:
        tell("copy to the device")
        return on_device(tensor.to(dtype) if dtype else tensor.clone())
    if here and not there:
        tell("copy to the host")
        return tensor.inner.to(dtype, copy=True) if dtype else tensor.inner.clone()
    return tensor.to(dtype) if dtype else tensor


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


def _dispatch(operation: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Run one operation of which at least one argument is the device's."""
    if operation is ATEN._to_copy.default:
        device, dtype = kwargs.get("device"), kwargs.get("dtype")
        if device is not None and not is_pretend(device):
            return _moved(args[0], torch.device("cpu"), dtype)
        return PretendTensor(operation(args[0].inner, **{k: v for k, v in kwargs.items() if k != "device"}))
    if operation is ATEN.copy_.default:
        return _copied(*args)
    device = kwargs.pop("device", DEVICE)
    _check_sides(operation, args, kwargs)
    _tell_of_waiting(operation, args, kwargs)
    found = operation(*_mapped(_inner, args), **_mapped(_inner, kwargs))
    if not is_pretend(device):
        return found
    own = {id(one.inner): one for one in _pretend(args, kwargs)}  # what an operation in place returns is its argument
    return _mapped(lambda one: own[id(one)] if id(one) in own else PretendTensor(one), found)


def _copied(target: Tensor, source: Tensor, *rest) -> Tensor:
    """Write one tensor into another, whose side may be the other one."""
    there, here = isinstance(target, PretendTensor), isinstance(source, PretendTensor)
    if there != here and not (there and not source.dim()):
        tell("copy to the device" if there else "copy to the host")
    (target.inner if there else target).copy_(source.inner if here else source)
    return target


def _inner(tensor: Tensor) -> Tensor:
    return tensor.inner if isinstance(tensor, PretendTensor) else tensor


def _mapped(change: Callable[[Tensor], Tensor], part: Any) -> Any:
    """Return arguments, or what was found, with every tensor changed."""
    if isinstance(part, Tensor):
        return change(part)
    if isinstance(part, dict):
        return {name: _mapped(change, value) for name, value in part.items()}
    return [_mapped(change, one) for one in part] if isinstance(part, list | tuple) else part


def _tensors(*parts: Any) -> Iterator[Tensor]:
    for part in parts:
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, list | tuple | dict):
            yield from _tensors(*(part.values() if isinstance(part, dict) else part))


def _pretend(*parts: Any) -> Iterator[PretendTensor]:
    return (one for one in _tensors(*parts) if isinstance(one, PretendTensor))


def _check_sides(operation: Any, args: tuple, kwargs: dict[str, Any]) -> None:
    if any(not isinstance(one, PretendTensor) and one.dim() for one in _tensors(args, kwargs)):
        raise Misplaced(f"{operation} mixes the device's tensors with the CPU's {place()}")


def _tell_of_waiting(operation: Any, args: tuple, kwargs: dict[str, Any]) -> None:
    """Tell of an operation whose result the host, or the shape of the result, depends on."""
    if operation is ATEN._local_scalar_dense.default:
        tell("item or bool")
    elif operation in DATA_DEPENDENT:
        tell(DATA_DEPENDENT[operation])
    elif operation is ATEN.repeat_interleave.Tensor and kwargs.get("output_size") is None:
        tell("repeat_interleave")
    elif operation in (ATEN.index.Tensor, ATEN.index_put_.default, ATEN.index_put.default):
        fills = operation is not ATEN.index.Tensor and not args[2].dim()  # one number: no index is needed
        masks = [one for one in args[1] if one is not None and one.dtype == torch.bool]
        if masks and not fills:
            tell("a mask as index")
