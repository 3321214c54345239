"""Tensors of a pretend accelerator, which report another device, compute on the CPU, and never mix with CPU tensors."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.waits import current_place, report_wait

DEVICE = torch.device("meta")  # pretend tensors report this device, which needs no hardware and computes nothing
ATEN = torch.ops.aten
# The parts of these functions turn numbers into tensors of DEVICE, which hold no data, so they run as a whole.
WHOLE_FUNCTIONS = (torch.where, Tensor.where, F.scaled_dot_product_attention, torch._C._nn.pad_sequence)
# The shape of these operations' results depends on data of the device.
DATA_DEPENDENT = {
    ATEN.nonzero.default: "nonzero",
    ATEN.masked_select.default: "a mask as index",
    ATEN._unique2.default: "unique",
    ATEN.unique_consecutive.default: "unique",
    ATEN.unique_dim.default: "unique",
}


class Misplaced(RuntimeError):
    """Raised when a tensor is on the wrong device."""


class PretendTensor(torch.Tensor):
    """A tensor of the pretend device; the CPU tensor `inner` holds its numbers."""

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
        return dispatch(operation, args, dict(kwargs or {}))

    def __repr__(self, **_) -> str:
        return f"PretendTensor({self.inner})"


def is_pretend(device: Any) -> bool:
    return device is not None and torch.device(device).type in ("cuda", DEVICE.type)


def on_device(tensor: Tensor) -> PretendTensor:
    """Return a tensor of the device with a CPU tensor's numbers."""
    return PretendTensor(tensor.detach())


def move(tensor: Tensor, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    """Return a tensor moved to a device and, if `dtype` is given, converted."""
    to_pretend, from_pretend = is_pretend(device), isinstance(tensor, PretendTensor)
    if to_pretend and not from_pretend:
        report_wait("copy to the device")
        return on_device(tensor.to(dtype) if dtype else tensor.clone())
    if from_pretend and not to_pretend:
        report_wait("copy to the host")
        return tensor.inner.to(dtype, copy=True) if dtype else tensor.inner.clone()
    return tensor.to(dtype) if dtype else tensor


def dispatch(operation: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Run an operation with at least one argument on the pretend device."""
    if operation is ATEN._to_copy.default:
        device, dtype = kwargs.get("device"), kwargs.get("dtype")
        if device is not None and not is_pretend(device):
            return move(args[0], torch.device("cpu"), dtype)
        return PretendTensor(operation(args[0].inner, **{k: v for k, v in kwargs.items() if k != "device"}))
    if operation is ATEN.copy_.default:
        return _copy(*args)
    device = kwargs.pop("device", DEVICE)
    _check_sides(operation, args, kwargs)
    _report_waiting(operation, args, kwargs)
    found = operation(*_map_tensors(_inner, args), **_map_tensors(_inner, kwargs))
    if not is_pretend(device):
        return found
    own = {id(one.inner): one for one in pretend_tensors(args, kwargs)}  # operations in place return their argument
    return _map_tensors(lambda one: own[id(one)] if id(one) in own else PretendTensor(one), found)


def _copy(target: Tensor, source: Tensor, *rest) -> Tensor:
    """Write one tensor into another, which may be on the other device."""
    to_pretend, from_pretend = isinstance(target, PretendTensor), isinstance(source, PretendTensor)
    if to_pretend != from_pretend and not (to_pretend and not source.dim()):
        report_wait("copy to the device" if to_pretend else "copy to the host")
    _inner(target).copy_(_inner(source))
    return target


def _inner(tensor: Tensor) -> Tensor:
    return tensor.inner if isinstance(tensor, PretendTensor) else tensor


def _map_tensors(change: Callable[[Tensor], Tensor], part: Any) -> Any:
    """Return arguments, or a result, with `change` applied to every tensor in them."""
    if isinstance(part, Tensor):
        return change(part)
    if isinstance(part, dict):
        return {name: _map_tensors(change, value) for name, value in part.items()}
    return [_map_tensors(change, one) for one in part] if isinstance(part, list | tuple) else part


def _tensors(*parts: Any) -> Iterator[Tensor]:
    for part in parts:
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, list | tuple | dict):
            yield from _tensors(*(part.values() if isinstance(part, dict) else part))


def pretend_tensors(*parts: Any) -> Iterator[PretendTensor]:
    return (one for one in _tensors(*parts) if isinstance(one, PretendTensor))


def _check_sides(operation: Any, args: tuple, kwargs: dict[str, Any]) -> None:
    if any(not isinstance(one, PretendTensor) and one.dim() for one in _tensors(args, kwargs)):
        raise Misplaced(f"{operation} mixes the device's tensors with CPU tensors in {current_place()}")


def _report_waiting(operation: Any, args: tuple, kwargs: dict[str, Any]) -> None:
    """Report an operation for which the host must wait, because it needs the result's value or shape."""
    if operation is ATEN._local_scalar_dense.default:
        report_wait("item or bool")
    elif operation in DATA_DEPENDENT:
        report_wait(DATA_DEPENDENT[operation])
    elif operation is ATEN.repeat_interleave.Tensor and kwargs.get("output_size") is None:
        report_wait("repeat_interleave")
    elif operation in (ATEN.index.Tensor, ATEN.index_put_.default, ATEN.index_put.default):
        fills = operation is not ATEN.index.Tensor and not args[2].dim()  # writing one number needs no index
        masks = [one for one in args[1] if one is not None and one.dtype == torch.bool]
        if masks and not fills:
            report_wait("a mask as index")
