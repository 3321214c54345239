"""Tensors of a pretend accelerator: they report another device, compute on the CPU, and never mix with the CPU's."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.waits import place, tell

DEVICE = torch.device("meta")  # what its tensors report: torch knows it without hardware, and computes nothing on it
ATEN = torch.ops.aten
# In parts, these make numbers into tensors of DEVICE, which hold nothing.
AT_ONCE = (torch.where, Tensor.where, F.scaled_dot_product_attention, torch._C._nn.pad_sequence)
# Operations whose result has a shape that only the device knows.
DATA_DEPENDENT = {
    ATEN.nonzero.default: "nonzero",
    ATEN.masked_select.default: "a mask as index",
    ATEN._unique2.default: "unique",
    ATEN.unique_consecutive.default: "unique",
    ATEN.unique_dim.default: "unique",
}


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
        return dispatch(operation, args, dict(kwargs or {}))

    def __repr__(self, **_) -> str:
        return f"PretendTensor({self.inner})"


def is_pretend(device: Any) -> bool:
    return device is not None and torch.device(device).type in ("cuda", DEVICE.type)


def on_device(tensor: Tensor) -> PretendTensor:
    """Return a CPU tensor's numbers on the device."""
    return PretendTensor(tensor.detach())


def moved(tensor: Tensor, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    """Return a tensor on this side, in this dtype."""
    there, here = is_pretend(device), isinstance(tensor, PretendTensor)
    if there and not here:
        tell("copy to the device")
        return on_device(tensor.to(dtype) if dtype else tensor.clone())
    if here and not there:
        tell("copy to the host")
        return tensor.inner.to(dtype, copy=True) if dtype else tensor.inner.clone()
    return tensor.to(dtype) if dtype else tensor


def dispatch(operation: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Run one operation of which at least one argument is the device's."""
    if operation is ATEN._to_copy.default:
        device, dtype = kwargs.get("device"), kwargs.get("dtype")
        if device is not None and not is_pretend(device):
            return moved(args[0], torch.device("cpu"), dtype)
        return PretendTensor(operation(args[0].inner, **{k: v for k, v in kwargs.items() if k != "device"}))
    if operation is ATEN.copy_.default:
        return _copied(*args)
    device = kwargs.pop("device", DEVICE)
    _check_sides(operation, args, kwargs)
    _tell_of_waiting(operation, args, kwargs)
    found = operation(*_mapped(_inner, args), **_mapped(_inner, kwargs))
    if not is_pretend(device):
        return found
    own = {id(one.inner): one for one in pretend(args, kwargs)}  # what an operation in place returns is its argument
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


def pretend(*parts: Any) -> Iterator[PretendTensor]:
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
