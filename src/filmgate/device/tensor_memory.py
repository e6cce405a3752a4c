"""Bytes of live tensors, counted as they come and go: on meta tensors they predict a peak."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
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


Made = tuple[tuple[tuple[int, ...], tuple[int, ...], torch.dtype], ...]


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the storages that operations make while the `with` lasts.

    `bytes` are alive now, `peak` at most were. Tensors on the meta device take none, so a network
    that this machine could never hold is predicted; gradients are off. With `layouts` each
    convolution on 16-bit tensors counts input, output and weight once more while it runs, as
    cuDNN's change of layout does. What an operation makes of meta tensors is worked out once.
    """

    def __init__(self, layouts: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.peak = 0
        self._layouts = layouts
        self._known: set[int] = set()
        self._made: dict[Hashable, Made | None] = {}

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
        made = self._done(func, args, kwargs or {})
        for tensor in tree_iter(made):
            if isinstance(tensor, Tensor):
                self._count(tensor)
        if self._layouts and func in _CONVOLUTIONS:
            given, weight = args[0], args[1]
            if given.element_size() == 2:
                extra = sum(t.numel() * 2 for t in (given, weight, made))
                self.peak = max(self.peak, self.bytes + extra)
        return made

    def _done(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The operation; on shapes that were seen before only its results are laid out."""
        given = [value for value in tree_iter((args, kwargs)) if isinstance(value, Tensor)]
        schema = func._schema
        if not all(tensor.is_meta for tensor in given) or any(
            part.alias_info for part in (*schema.arguments, *schema.returns)
        ):
            return func(*args, **kwargs)
        key = (func, _told(args), _told(kwargs))
        if known := self._made.get(key):
            new = [torch.empty_strided(*layout, dtype=dtype, device="meta")
                   for *layout, dtype in known]  # fmt: skip
            return new[0] if len(schema.returns) == 1 else tuple(new)
        made = func(*args, **kwargs)
        if given and key not in self._made:
            self._made[key] = _fresh(made, given)
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


def _told(value: Any) -> Hashable:
    """What results on the meta device follow from: shapes, and all that is no tensor."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.stride(), value.dtype
    if isinstance(value, list | tuple):
        return tuple(map(_told, value))
    if isinstance(value, Mapping):
        return tuple((name, _told(one)) for name, one in value.items())
    return type(value), value


def _fresh(made: Any, given: Sequence[Tensor]) -> Made | None:
    """How results lie in memory of their own; None: they are no tensors, or what was given."""
    made = (made,) if isinstance(made, Tensor) else made
    if not isinstance(made, tuple) or not all(isinstance(one, Tensor) for one in made):
        return None
    old = {tensor.untyped_storage()._cdata for tensor in given}
    if any(one.untyped_storage()._cdata in old for one in made):
        return None
    return tuple((tuple(one.shape), one.stride(), one.dtype) for one in made)
