"""Count the bytes of live tensors; on the meta device this predicts a peak."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

_ROUND = 512  # bytes: the granularity of CUDA's allocator
_CONVOLUTIONS = {
    torch.ops.aten.conv2d.default,  # in inference mode
    torch.ops.aten.conv3d.default,
    torch.ops.aten.convolution.default,
    torch.ops.aten._convolution.default,
    torch.ops.aten.cudnn_convolution.default,
}


Layouts = tuple[tuple[tuple[int, ...], tuple[int, ...], torch.dtype], ...]


class LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages that operations create inside the `with`: `bytes` now, `peak` at most.

    Tensors on the meta device take no memory, so networks of any size can be predicted; gradients
    must be off. With `layouts`, a convolution of 16-bit tensors counts its input, output and
    weight twice while it runs, as cuDNN's change of layout does. Results on the meta device are
    computed once for each combination of shapes.
    """

    def __init__(self, layouts: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.peak = 0
        self._layouts = layouts
        self._known: set[int] = set()
        self._layouts_of: dict[Hashable, Layouts | None] = {}

    def add(self, *tensors: Tensor) -> None:
        """Count tensors that exist already, such as weights."""
        for tensor in tensors:
            self._count(tensor)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = self._run(func, args, kwargs or {})
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor):
                self._count(tensor)
        if self._layouts and func in _CONVOLUTIONS:
            tensor, weight = args[0], args[1]
            if tensor.element_size() == 2:
                extra = sum(t.numel() * 2 for t in (tensor, weight, result))
                self.peak = max(self.peak, self.bytes + extra)
        return result

    def _run(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run the operation; for known shapes on the meta device only create its results."""
        inputs = [value for value in tree_iter((args, kwargs)) if isinstance(value, Tensor)]
        schema = func._schema
        if not all(tensor.is_meta for tensor in inputs) or any(
            part.alias_info for part in (*schema.arguments, *schema.returns)
        ):
            return func(*args, **kwargs)
        key = (func, _describe(args), _describe(kwargs))
        if known := self._layouts_of.get(key):
            new = [torch.empty_strided(*layout, dtype=dtype, device="meta")
                   for *layout, dtype in known]  # fmt: skip
            return new[0] if len(schema.returns) == 1 else tuple(new)
        result = func(*args, **kwargs)
        if inputs and key not in self._layouts_of:
            self._layouts_of[key] = _get_layouts(result, inputs)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = -(-storage.nbytes() // _ROUND) * _ROUND
        self._known.add(key)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.bytes -= size


def _describe(value: Any) -> Hashable:
    """Return what results on the meta device depend on: shapes, and other arguments."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.stride(), value.dtype
    if isinstance(value, list | tuple):
        return tuple(map(_describe, value))
    if isinstance(value, Mapping):
        return tuple((name, _describe(one)) for name, one in value.items())
    return type(value), value


def _get_layouts(result: Any, inputs: Sequence[Tensor]) -> Layouts | None:
    """Return the layouts of new tensors; None if results are not tensors, or are inputs."""
    result = (result,) if isinstance(result, Tensor) else result
    if not isinstance(result, tuple) or not all(isinstance(one, Tensor) for one in result):
        return None
    old = {tensor.untyped_storage()._cdata for tensor in inputs}
    if any(one.untyped_storage()._cdata in old for one in result):
        return None
    return tuple((tuple(one.shape), one.stride(), one.dtype) for one in result)
