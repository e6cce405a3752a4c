"""Tensors that pretend to be on a CUDA device, to find mixes of devices on a machine without one.

The data is in host memory and every operation runs on the CPU, so results can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

_CPU, _CUDA = torch.device("cpu"), torch.device("cuda", 0)
_MAX_MAPS = 65_535  # that cuDNN samples at a time
_aten = torch.ops.aten
_COPIES = frozenset({_aten.copy_, _aten._to_copy, _aten.to})
_INDEXING = frozenset({_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_})


@contextmanager
def fake_cuda() -> Iterator[None]:
    """Let this machine have a CUDA device, cuda:0, inside the `with`, for the thread that enters.

    Tensors on it raise as real ones do when they meet tensors of the CPU or become arrays.
    """
    internal: Any = torch._C
    internal._ensureCUDADeviceGuardSet()
    pretended: dict[str, Callable[..., Any]] = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_name": lambda device=None: "a pretended GPU",
        "mem_get_info": lambda device=None: (8 << 30, 8 << 30),
    }
    future, cudnn = torch.__future__, torch.backends.cudnn
    with ExitStack() as stack:
        stack.callback(internal._set_only_lift_cpu_tensors, internal._only_lift_cpu_tensors())
        internal._set_only_lift_cpu_tensors(True)  # both as for torch's own fake tensors
        stack.callback(
            future.set_overwrite_module_params_on_conversion,
            future.get_overwrite_module_params_on_conversion(),
        )
        future.set_overwrite_module_params_on_conversion(True)  # or parameters become plain
        stack.callback(setattr, cudnn, "enabled", cudnn.enabled)
        cudnn.enabled = False  # torch would choose operations that the CPU lacks
        for name, function in pretended.items():
            stack.enter_context(patch.object(torch.cuda, name, function))
        stack.enter_context(_FakeCudaMode())  # type: ignore[no-untyped-call]
        yield


class CudaTensor(Tensor):
    """A tensor that says it is on cuda:0; `data_on_cpu` holds its values."""

    data_on_cpu: Tensor

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls: type[CudaTensor], data: Tensor) -> CudaTensor:
        with torch.inference_mode(False):  # torch wants views of other tensors to be like these
            made: CudaTensor = Tensor._make_wrapper_subclass(
                cls, data.shape, strides=data.stride(), storage_offset=data.storage_offset(),
                dtype=data.dtype, layout=data.layout, device=_CUDA,
            )  # fmt: skip
        made.data_on_cpu = data
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"{self.data_on_cpu!r} on {self.device}"

    def numpy(self, *, force: bool = False) -> Any:
        """Raise TypeError, as for a tensor that is on a device."""
        if force:
            return self.cpu().numpy()
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to "
                        "copy the tensor to host memory first.")  # fmt: skip

    def tolist(self) -> Any:
        """Return the values as lists."""
        return self.data_on_cpu.tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return _run(func, args, kwargs or {})


# What tells tensors by the name of their type takes it for one.
CudaTensor.__module__, CudaTensor.__name__ = Tensor.__module__, Tensor.__name__


class _FakeCudaMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Makes tensors on the pretended device, of arguments that are all on the CPU."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run an operation on the CPU; its results are where CUDA would have them."""
    leaves = list(tree_iter((args, kwargs)))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    if func is _aten._has_compatible_shallow_copy_type.default:
        return type(args[0]) is type(args[1])
    _check(func, args, tensors)
    devices = [leaf for leaf in leaves if isinstance(leaf, torch.device)]
    on_cuda = any(isinstance(one, CudaTensor) for one in tensors)
    if devices:
        on_cuda = devices[0].type == "cuda"
    if func.overloadpacket is _aten.copy_:
        on_cuda = isinstance(args[0], CudaTensor)
    given = {id(_to_inner(tensor)): tensor for tensor in tensors}
    result = func(*tree_map(_to_inner, args), **tree_map(_to_inner, dict(kwargs)))

    def place(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        old = given.get(id(value))
        if old is not None and isinstance(old, CudaTensor) == on_cuda:
            return old  # changed in place
        value = value if old is None else value.clone()
        return CudaTensor(value) if on_cuda else value

    return tree_map(place, result)


def _check(func: Any, args: Sequence[Any], tensors: Sequence[Tensor]) -> None:
    """Raise RuntimeError for what CUDA or cuDNN would refuse."""
    packet = func.overloadpacket
    if packet in _INDEXING and isinstance(args[0], CudaTensor):
        tensors = [one for one in tree_iter((args[0], args[2:])) if isinstance(one, Tensor)]
    others = [one for one in tensors if not isinstance(one, CudaTensor)]
    if packet in _COPIES or len(others) == len(tensors):
        return
    if any(one.dim() for one in others):  # numbers are allowed
        raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two "
                           f"devices, {_CUDA} and {_CPU}! (in {func})")  # fmt: skip
    takes_cudnn = packet in (_aten.grid_sampler, _aten.grid_sampler_2d) and args[2:] == (0, 0, True)
    if takes_cudnn and len(args[0]) > _MAX_MAPS:
        raise RuntimeError(f"cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. {len(args[0])} maps")


def _to_inner(value: Any) -> Any:
    if isinstance(value, CudaTensor):
        return value.data_on_cpu
    return _CPU if isinstance(value, torch.device) and value.type == "cuda" else value
