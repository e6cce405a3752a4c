"""Run the layers of Wan's autoencoder over bands of rows, with the result of complete images.

A chunk of frames goes through the network a band of rows after the other. A convolution over three
rows keeps the last rows of a band until the next one comes, so the result of a band starts and ends
a row earlier than the band; a sum waits for the later of its two sides. Nothing is computed twice,
and no row lacks its neighbours. In time the same holds between chunks: a convolution over three
frames needs the last two of the chunk before. These are its cache, one for each band.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

_MEMORY = 2  # frames of the chunk before that a convolution sees

Cache = Tensor | None  # None: nothing yet, which is the same as zeros
Level = Callable[["BandPass", Tensor], Tensor]  # rows of a level's input to rows of its result


class CacheStore(Protocol):
    """Where caches wait until their band comes again."""

    def put(self, tensor: Tensor) -> Tensor:
        """Return the tensor as it waits."""
        ...

    def take(self, tensor: Tensor, device: torch.device) -> Tensor:
        """Return a tensor that waited, on this device."""
        ...


class OnDevice:
    """Caches stay where they are."""

    def put(self, tensor: Tensor) -> Tensor:
        """Return the tensor itself."""
        return tensor

    def take(self, tensor: Tensor, device: torch.device) -> Tensor:
        """Return the tensor, on this device."""
        return tensor.to(device)


class OnCpu:
    """Caches wait in the CPU's memory; copies from and to a GPU do not block the CPU."""

    def put(self, tensor: Tensor) -> Tensor:
        """Return a copy on the CPU, in pinned memory if the tensor is on a GPU."""
        return tensor.to("cpu", non_blocking=True)

    def take(self, tensor: Tensor, device: torch.device) -> Tensor:
        """Return a copy on this device."""
        return tensor.to(device, non_blocking=True)


class BandPass:
    """One chunk of frames on its way through the network, whose batch is 1.

    `old`: the caches of the chunk before in the order of use, none before the first chunk. They
    are consumed; those for the next chunk are `caches`.
    """

    def __init__(self, old: deque[Cache], store: CacheStore) -> None:
        self.first = not old
        self.caches: deque[Cache] = deque()
        self._old, self._store = old, store
        self._rows: dict[nn.Module | int, Tensor] = {}  # rows that wait, by who needs them
        self._last = True  # the band ends at the lower edge of the image

    def run(self, levels: Sequence[Level], rows: Sequence[int], x: Tensor) -> Iterator[Tensor]:
        """Yield the rows of the result, from above, of complete images x (1, C, T, H, W).

        `rows`: those of its input that each level takes at a time.
        """
        yield from self._feed(levels, rows, 0, x, last=True)

    def _feed(
        self, levels: Sequence[Level], rows: Sequence[int], at: int, x: Tensor, *, last: bool
    ) -> Iterator[Tensor]:
        if at == len(levels):
            yield x
            return
        x = self._join(at, x)
        while x.shape[3] >= rows[at] or (last and x.shape[3]):
            band, x = x[:, :, :, : rows[at]], x[:, :, :, rows[at] :]
            self._last = lowest = last and not x.shape[3]
            yield from self._feed(levels, rows, at + 1, levels[at](self, band), last=lowest)
        if not last:
            self._rows[at] = x.clone()

    def convolve(self, conv: Any, x: Tensor) -> Tensor:
        """Return a convolution over 3 frames, 3 rows and 3 columns."""
        cache, kept = self._take(x), self._rows.pop(conv, None)
        top = 1 if kept is None else kept.shape[3]
        _, channels, frames, height, width = x.shape
        shape = (1, channels, _MEMORY + frames, top + height + self._last, width + 2)
        padded = x.new_zeros(shape)
        inner = padded[:, :, :, top : top + height, 1:-1]
        inner[:, :, _MEMORY:] = x
        if cache is not None:
            inner[:, :, :_MEMORY] = cache
        if kept is not None:
            padded[:, :, :, :top] = kept
        self._keep_frames(x, cache)
        if not self._last:
            self._rows[conv] = padded[:, :, :, -2:].clone()
        del x, inner, cache, kept  # the caller may have none of them any more
        return functional.conv3d(padded, conv.weight, conv.bias)

    def residual(self, block: Any, x: Tensor) -> Tensor:
        """Return a residual block's result."""
        # one expression: what is between the convolutions has no name, so it is freed at once
        y = self.convolve(
            block.conv2,
            _activate(block.norm2, self.convolve(block.conv1, _activate(block.norm1, x))),
        )
        return self.add(block, y, block.conv_shortcut(x))

    def add(self, block: nn.Module, y: Tensor, x: Tensor) -> Tensor:
        """Return the sum, written to `y`, of the block's result and of its shortcut `x`."""
        x = self._join(block, x)
        ready = y.shape[3]
        if ready < x.shape[3]:
            self._rows[block] = x[:, :, :, ready:].clone()
        return y.add_(x[:, :, :, :ready])

    def enlarge(self, resample: Any, x: Tensor) -> Tensor:
        """Return x at twice the size and, unless the chunk is the first, number of frames."""
        if resample.mode == "upsample3d":
            x = self._double_frames(resample.time_conv, x)
        conv = resample.resample[1]
        images = functional.interpolate(_to_images(x), scale_factor=2.0, mode="nearest-exact")
        if self._last and conv not in self._rows:
            return _to_frames(conv(images))
        kept = self._rows.pop(conv, images.new_zeros(*images.shape[:2], 1, images.shape[3]))
        bottom = [torch.zeros_like(kept[:, :, :1])] if self._last else []
        rows = torch.cat([kept, images, *bottom], 2)
        del images
        if not self._last:
            self._rows[conv] = rows[:, :, -2:].clone()
        return _to_frames(functional.conv2d(rows, conv.weight, conv.bias, padding=(0, 1)))

    def shrink(self, resample: Any, x: Tensor) -> Tensor:
        """Return x at half the size and, unless the chunk is the first, number of frames."""
        conv = resample.resample[1]
        rows = functional.pad(self._join(conv, x), (0, 1, 0, int(self._last)))
        done = (rows.shape[3] - 1) // 2 * 2
        if not self._last:
            self._rows[conv] = rows[:, :, :, done:, :-1].clone()
        images = functional.conv2d(_to_images(rows), conv.weight, conv.bias, stride=2)
        x = _to_frames(images)
        return self._halve_frames(resample.time_conv, x) if resample.mode == "downsample3d" else x

    def average(self, shortcut: Any, x: Tensor) -> Tensor:
        """Return the means of squares of 2 x 2 and, in the shortcut that has them, of frames."""
        x = self._join(shortcut, x)
        pairs = x.shape[3] // shortcut.factor_s * shortcut.factor_s
        if pairs < x.shape[3]:
            self._rows[shortcut] = x[:, :, :, pairs:].clone()
        return shortcut(x[:, :, :, :pairs])  # type: ignore[no-any-return]

    def _halve_frames(self, conv: Any, x: Tensor) -> Tensor:
        """Return half of the frames, each from two and the one before; the first chunk is one."""
        cache = self._take(x)
        self.caches.append(self._store.put(x[:, :, -1:].clone()))
        return x if cache is None else conv(torch.cat([cache, x], 2))

    def _double_frames(self, conv: Any, x: Tensor) -> Tensor:
        """Return twice the frames; those of the first chunk are neither doubled nor remembered."""
        if self.first:
            self.caches.append(None)
            return x
        cache = self._take(x)
        doubled: Tensor = conv(x, cache)
        self._keep_frames(x, cache)
        _, channels, frames, height, width = x.shape
        pairs = doubled.view(1, 2, channels, frames, height, width).permute(0, 2, 3, 1, 4, 5)
        return pairs.reshape(1, channels, 2 * frames, height, width)

    def _take(self, x: Tensor) -> Cache:
        cache = None if self.first else self._old.popleft()
        return None if cache is None else self._store.take(cache, x.device)

    def _keep_frames(self, x: Tensor, cache: Cache) -> None:
        """Remember the last frames of x, and of its cache if it is one frame."""
        if x.shape[2] < _MEMORY:
            before = torch.zeros_like(x) if cache is None else cache[:, :, -1:]
            kept = torch.cat([before, x], 2)
        else:
            kept = x[:, :, -_MEMORY:].clone()
        self.caches.append(self._store.put(kept))

    def _join(self, key: nn.Module | int, x: Tensor) -> Tensor:
        """Return x below the rows that waited for it."""
        kept = self._rows.pop(key, None)
        return x if kept is None else torch.cat([kept, x], 3)


def _activate(norm: Any, x: Tensor) -> Tensor:
    x = norm(x)
    return functional.silu(x, inplace=True)


def _to_images(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(0, 1)


def _to_frames(images: Tensor) -> Tensor:
    return images.unsqueeze(0).transpose(1, 2)
