"""Count the bytes that tensors take between host memory and devices, where they are copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

# Methods and functions, by name, whose result is on the device that the caller wants.
_MOVES = frozenset({"to", "cpu", "cuda", "type", "tensor", "as_tensor", "asarray"})
_WRITES = frozenset({"copy_", "__setitem__"})  # the last argument goes into the first one
# What becomes a value of Python, or an array.
_READS = frozenset({"item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__"})


class CopyCounter(TorchFunctionMode):
    """Reports what this thread copies to and from devices inside the `with`.

    `report` gets the bytes to a device and those from one, of each copy. Copies between devices are
    not counted, nor those that torch makes by itself, such as the number of found elements.
    """

    def __init__(self, report: Callable[[int, int], None]) -> None:
        super().__init__()
        self._report = report

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in _MOVES and isinstance(result, Tensor):
            source = args[0] if args and isinstance(args[0], Tensor) else None
            self._count(source, result, result.nbytes)
        elif name in _WRITES and isinstance(args[-1], Tensor):
            self._count(args[-1], args[0], args[-1].numel() * args[0].element_size())
        elif name in _READS and _is_on_device(args[0]):
            self._report(0, args[0].nbytes)
        return result

    def _count(self, source: Tensor | None, result: Tensor, size: int) -> None:
        """Report a copy. A value of Python, which is no tensor, is in host memory."""
        before = source is not None and _is_on_device(source)
        after = _is_on_device(result)
        if before != after and (after or not result.is_meta):
            self._report(size if after else 0, size if before else 0)


def _is_on_device(tensor: Tensor) -> bool:
    return tensor.device.type not in ("cpu", "meta")
