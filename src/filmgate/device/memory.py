"""Bytes of live tensors, counted as they come and go: on meta tensors they predict a peak."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

_ROUND = 512  # bytes: the least that CUDA's allocator gives
_CONVOLUTIONS = {
    torch.ops.aten.conv2d.default,  # what is seen in inference mode
    torch.ops.aten.convolution.default,
    torch.ops.aten._convolution.default,
    torch.ops.aten.cudnn_convolution.default,
}


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the storages that operations make while the `with` lasts.

    `bytes` are alive now, `peak` at most were. Tensors on the meta device take none, so a network
    that this machine could never hold is predicted; gradients are off. With `layouts` each
    convolution on 16-bit tensors counts input, output and weight once more while it runs, as
    cuDNN's change of layout does.
    """

    def __init__(self, layouts: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.peak = 0
        self._layouts = layouts
        self._known: set[int] = set()

    def hold(self, *tensors: Tensor) -> None:
        """Counts tensors that were there before, such as weights."""
        for tensor in tensors:
            self._count(tensor)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, Tensor):
                self._count(tensor)
        if self._layouts and func in _CONVOLUTIONS:
            given, weight = args[0], args[1]
            if given.element_size() == 2:
                extra = sum(t.numel() * 2 for t in (given, weight, made))
                self.peak = max(self.peak, self.bytes + extra)
        return made

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
