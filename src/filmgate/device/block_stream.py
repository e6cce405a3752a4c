"""Run the equal blocks of a network one after another, wherever their weights are kept.

The first blocks can stay on the device. The others are kept in memory or on the disk, and copied
to the device in turn: while one runs, the next one is copied. All placements compute the same: what
happens to weights before they are used happens on the device, in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from filmgate.core.instrumentation.phases import carry
from filmgate.weights.packed import Packed, list_tensors, with_tensors

Home = Literal["memory", "disk"]
Block = Mapping[str, Packed]
_ALIGNMENT = 256  # bytes
_SLOTS = 2  # one is used while the other is filled


@dataclass(frozen=True, slots=True)
class BlockWeights:
    """Where the weights of blocks come from.

    `read(k)` returns those of block k as they are stored, on the CPU. `prepare(k, block)` returns
    them as they are kept: it is called once for each block, or at every use if they are read from
    the disk. `restore(k, block)` returns the tensors to compute with, at every use. All three get
    and return names within a block.
    """

    count: int
    read: Callable[[int], Block]
    prepare: Callable[[int, Block], Block]
    restore: Callable[[int, Block], Mapping[str, Tensor]]


class BlockStack:
    """Runs blocks; `template` is one block on the meta device, which gives the code.

    The first `resident` blocks stay on `device`; the others are at `home`. Not for two threads at
    a time.
    """

    def __init__(
        self, template: nn.Module, weights: BlockWeights, device: str, resident: int, home: Home
    ) -> None:
        self._template, self._weights, self._device = template, weights, device
        self._resident = [self._make_resident(k) for k in range(min(resident, weights.count))]
        make = self._make_disk_home if home == "disk" else self._make_memory_home
        sources = [make(k) for k in range(len(self._resident), weights.count)]
        self._feed = _Feed(sources, device) if sources else None
        self._prepares_late = home == "disk"

    def run(self, index: int, *args: Any, **kwargs: Any) -> Any:
        """Return what block `index` makes of the arguments."""
        tensors = self._weights.restore(index, self._get(index))
        return functional_call(self._template, dict(tensors), args, kwargs, strict=True)

    def make_modules(self) -> nn.ModuleList:
        """Return modules that are called in place of the blocks in their network."""
        return nn.ModuleList(_BlockCall(self, k) for k in range(self._weights.count))

    def close(self) -> None:
        """Free the weights."""
        self._resident.clear()
        if self._feed is not None:
            self._feed.close()

    def _get(self, index: int) -> Block:
        if index < len(self._resident):
            return self._resident[index]
        assert self._feed is not None, "the weights were freed"
        block = self._feed.get(index - len(self._resident))
        return self._weights.prepare(index, block) if self._prepares_late else block

    def _load(self, index: int, device: str, pinned: bool = False) -> tuple[_Layout, Tensor]:
        """Return a block as it is kept, in a buffer on a device."""
        block = self._weights.prepare(index, _move(self._weights.read(index), self._device))
        layout = _Layout.of(block)
        flat = torch.empty(layout.size, dtype=torch.uint8, device=device, pin_memory=pinned)
        layout.write(block, flat)
        return layout, flat

    def _make_resident(self, index: int) -> Block:
        # in a buffer like the others: kernels may depend on where in memory tensors start
        layout, flat = self._load(index, self._device)
        return layout.view(flat)

    def _make_memory_home(self, index: int) -> _Source:
        return _Source(*self._load(index, "cpu", pinned=_is_cuda(self._device)))

    def _make_disk_home(self, index: int) -> _Source:
        layout = _Layout.of(self._weights.read(index))  # nothing but headers is read yet
        return _Source(layout, read=lambda: self._weights.read(index))


class _BlockCall(nn.Module):
    """Stands for a block in its network."""

    def __init__(self, stack: BlockStack, index: int) -> None:
        super().__init__()
        self._stack, self._index = stack, index

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._stack.run(self._index, *args, **kwargs)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the tensors of a block are put into one buffer: a block is moved by one copy."""

    templates: Mapping[str, Packed]  # on the meta device
    starts: Mapping[str, tuple[int, ...]]
    size: int

    @classmethod
    def of(cls, block: Block) -> _Layout:
        templates, starts, size = {}, {}, 0
        for name, packed in block.items():
            tensors = [torch.empty_like(one, device="meta") for one in list_tensors(packed)]
            templates[name] = with_tensors(packed, tensors)
            offsets = []
            for tensor in tensors:
                offsets.append(size)
                size += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
            starts[name] = tuple(offsets)
        return cls(templates, starts, size)

    def view(self, flat: Tensor) -> dict[str, Packed]:
        """Return the block that is in a buffer."""
        return {name: with_tensors(packed, list(self._view(flat, name)))
                for name, packed in self.templates.items()}  # fmt: skip

    def write(self, block: Block, flat: Tensor) -> None:
        """Put a block into a buffer."""
        for name, packed in block.items():
            for part, tensor in zip(self._view(flat, name), list_tensors(packed), strict=True):
                part.copy_(tensor)

    def _view(self, flat: Tensor, name: str) -> Iterator[Tensor]:
        for start, like in zip(self.starts[name], list_tensors(self.templates[name]), strict=True):
            size = prod(like.shape) * like.element_size()
            yield flat[start : start + size].view(like.dtype).view(like.shape)


@dataclass(frozen=True, slots=True)
class _Source:
    """A block that is not on the device: in a buffer, or read from the disk."""

    layout: _Layout
    flat: Tensor | None = None
    read: Callable[[], Block] | None = None


@dataclass(slots=True)
class _Slot:
    """A place on the device for one block at a time."""

    buffer: Tensor
    staging: Tensor | None  # on the CPU, for blocks of the disk
    copied: Any = None  # an event of CUDA
    index: int | None = None  # of the block that it holds, or will
    filling: Future[None] | None = field(default=None)


class _Feed:
    """Copies blocks to the device in turn, each while the one before it runs."""

    def __init__(self, sources: Sequence[_Source], device: str) -> None:
        self._sources, self._device, cuda = sources, device, _is_cuda(device)
        size = max(source.layout.size for source in sources)
        on_disk = any(source.read for source in sources)
        self._slots = [
            _Slot(
                torch.empty(size, dtype=torch.uint8, device=device),
                torch.empty(size, dtype=torch.uint8, pin_memory=cuda) if on_disk else None,
            )
            for _ in range(min(_SLOTS, len(sources)))
        ]
        self._stream = _cuda().Stream(device) if cuda else None
        self._thread = ThreadPoolExecutor(1, "filmgate-blocks") if on_disk else None

    def get(self, index: int) -> Block:
        """Return block `index` on the device, valid until the next one but one is asked for."""
        slot = self._find(index) or self._start(index)
        try:
            if slot.filling is not None:
                slot.filling.result()
        except BaseException:
            slot.index = None  # it is read again when it is asked for again
            raise
        if slot.copied is not None:
            torch.cuda.current_stream(self._device).wait_event(slot.copied)
        following = (index + 1) % len(self._sources)
        if self._find(following) is None:
            self._start(following, keep=slot)
        return self._sources[index].layout.view(slot.buffer)

    def close(self) -> None:
        """Stop reading, and free the buffers."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
        self._slots, self._sources = [], ()

    def _find(self, index: int) -> _Slot | None:
        return next((slot for slot in self._slots if slot.index == index), None)

    def _start(self, index: int, keep: _Slot | None = None) -> _Slot:
        """Start to copy a block into a slot other than `keep`, and return the slot."""
        slot = next(slot for slot in self._slots if slot is not keep)
        if slot.filling is not None:
            slot.filling.cancel()
            if not slot.filling.cancelled():
                slot.filling.exception()  # wait: nothing else may write to the slot
        slot.index, slot.filling = index, None
        used = None
        if self._stream is not None:
            used = _cuda().Event()
            used.record(torch.cuda.current_stream(self._device))
        if self._thread is not None:
            slot.filling = self._thread.submit(carry(self._fill), slot, index, used)
        else:
            self._fill(slot, index, used)
        return slot

    def _fill(self, slot: _Slot, index: int, used: Any) -> None:
        source = self._sources[index]
        flat = source.flat
        if source.read is not None:
            assert slot.staging is not None
            if slot.copied is not None:
                slot.copied.synchronize()  # what is in the staging buffer has been copied
            flat = slot.staging[: source.layout.size]
            source.layout.write(source.read(), flat)
        assert flat is not None
        buffer = slot.buffer[: source.layout.size]
        if self._stream is None:
            buffer.copy_(flat)
            return
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(used)  # what was in the slot is not needed any more
            buffer.copy_(flat, non_blocking=True)
            slot.copied = _cuda().Event()
            slot.copied.record(self._stream)


def _move(block: Block, device: str) -> dict[str, Packed]:
    return {name: with_tensors(packed, [tensor.to(device) for tensor in list_tensors(packed)])
            for name, packed in block.items()}  # fmt: skip


def _is_cuda(device: str) -> bool:
    return device.startswith("cuda")


def _cuda() -> Any:
    """Return torch's module of CUDA, whose streams and events have no type hints."""
    return torch.cuda
