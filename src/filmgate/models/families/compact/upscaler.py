"""The network of `compact` applied to planes."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from filmgate.core.model_cache import ModelCache
from filmgate.core.prefetch import map_threads
from filmgate.errors import Unsupported
from filmgate.media.pixels.color import get_code_levels, is_cosited, share_memory
from filmgate.media.pixels.format_names import get_bit_depth, get_subsampling
from filmgate.media.pixels.planes import Plane, Planes
from filmgate.models.compiling.network import Input, StaticNetwork
from filmgate.models.compiling.packages import CompiledNetwork, open_compiled
from filmgate.models.families.compact.grouped import choose_group
from filmgate.models.families.compact.net import (
    Compact,
    Enlarge,
    Shape,
    build_kernel,
    group_lanczos,
)
from filmgate.weights.state_dict import check_tensors, list_shapes, load_tensors

CPU_TILE = 128, 256  # rows and columns, about: results of a convolution stay in the cache
GPU_SAMPLES = 1 << 19  # of the input in a strip, about: they keep a GPU busy
THREADS = min(4, os.cpu_count() or 1)  # each has its own tiles, so the count changes no bit


@dataclass(frozen=True)
class CompactUpscaler:
    """Enlarges planes, without state; `rows` at a time (None: what is fastest).

    `compiled`: the network for tiles of planes of one size; see `compile`.
    """

    net: Compact
    device: str = "cpu"
    rows: int | None = None
    compiled: CompiledNetwork | None = None

    def compile(self, width: int, height: int, models: ModelCache) -> CompactUpscaler:
        """Return the same with the network compiled for planes of this size. Raises BadSetting."""
        return replace(self, compiled=open_compiled(self.describe(width, height), models))

    def describe(self, width: int, height: int) -> StaticNetwork:
        """Return the network for tiles of planes of this size."""
        rows, columns = self._choose_tile(height, width)
        edge, columns = 2 * self.net.reach, columns + -columns % self._group
        return StaticNetwork(
            "compact",
            f"x{self.net.shape.scale}",
            self.net.group_columns(self._group),
            (Input((1, 1, rows + edge, columns + edge)),),
            f"{self.net.shape} {self._group}",
            threads=self._threads,
        )

    def upscale(self, image: object) -> Planes:
        """Return planes of the same format, `scale` times as wide and high. Raises Unsupported."""
        if not isinstance(image, Planes):
            raise Unsupported(f"compact cannot take {type(image).__name__}: pass planes as they "
                              "were decoded")  # fmt: skip
        pixels, scale = image.pixels, self.net.shape.scale
        learned = 3 if pixels.startswith("gbr") else 1  # planes for the network
        network, group = self._apply_network(image), self._group
        arrays: list[Plane] = []
        for n, plane in enumerate(image.arrays):
            if n < learned:
                result = self._enlarge(plane, network, self.net.reach, pixels)
            else:
                steps = get_subsampling(pixels) if n < 3 else (1, 1)
                kernel = build_kernel(scale, compute_shift(scale, steps, image.colour.siting))
                function = group_lanczos(kernel.to(self.device), group)
                result = self._enlarge(plane, function, kernel.shape[-1] // 2, pixels)
                across, down = (-(-n * scale // step)
                                for n, step in zip(image.size, steps, strict=True))  # fmt: skip
                if result.shape != (down, across):
                    result = result[:down, :across].copy()
            arrays.append(result)
        return image.with_arrays(tuple(arrays))

    def _apply_network(self, image: Planes) -> Enlarge:
        """Return the network as a function of code values; it takes 0 at black and 1 at white."""
        (low, width), _ = get_code_levels(image.pixels, image.colour)

        def function(codes: Tensor) -> Tensor:
            return self._network(codes.sub_(low).mul_(1 / width)).mul_(width).add_(low)

        return function

    def _enlarge(self, plane: Plane, function: Enlarge, reach: int, pixels: str) -> Plane:
        """Enlarge in tiles, each with its `reach` around: the same as all at once."""
        (height, width), scale = plane.shape, self.net.shape.scale
        rows, columns = self._choose_tile(height, width)
        bits = get_bit_depth(pixels)
        deep = torch.uint16 if self.device == "cpu" else torch.int32  # a GPU lacks most of uint16
        source = share_memory(plane).to(self.device)
        result = torch.empty(height * scale, width * scale, device=self.device,
                             dtype=torch.uint8 if bits == 8 else deep)  # fmt: skip

        def enlarge_tile(place: tuple[int, int]) -> None:
            (top, left), (bottom, right) = place, (place[0] + rows, place[1] + columns)
            tile = slice(top, min(height, bottom)), slice(left, min(width, right))
            large = result[tuple(slice(one.start * scale, one.stop * scale) for one in tile)]
            if self.compiled:  # for tiles of one size: the last ones reach out of the plane
                tile = slice(top, bottom), slice(left, right)
            with torch.inference_mode():
                made = function(_cut(source, tile, reach, self._group))[0, 0]
                made = made[: large.shape[0], : large.shape[1]]
                large.copy_(made.round_().clamp_(0, 2**bits - 1))

        places = list(product(range(0, height, rows), range(0, width, columns)))
        map_threads(enlarge_tile, places, self._threads)
        codes: Any = result.cpu().numpy()
        enlarged: Plane = codes.astype(np.uint8 if bits == 8 else np.uint16, copy=False)
        return enlarged

    @cached_property
    def _network(self) -> Enlarge:
        compiled = self.compiled
        return (lambda x: compiled(x)[0]) if compiled else self.net.group_columns(self._group)

    @property
    def _threads(self) -> int:
        return THREADS if self.device == "cpu" else 1

    @property
    def _group(self) -> int:
        return choose_group(self.net.shape.scale, self.device)

    def _choose_tile(self, height: int, width: int) -> tuple[int, int]:
        """Return how many rows and columns to process at a time."""
        if self.rows:
            return min(self.rows, height), width
        if self.device != "cpu":
            return min(max(8, GPU_SAMPLES // width), height), width
        sides = zip((height, width), CPU_TILE, strict=True)
        rows, columns = (-(-size // max(1, round(size / side))) for size, side in sides)
        return rows, columns


def _cut(source: Tensor, tile: tuple[slice, slice], reach: int, group: int) -> Tensor:
    """Return a tile (1, 1, rows, columns) as float32 with `reach` around it, edges replicated.

    Columns are added on the right until the tile has a multiple of `group`.
    """
    rows, columns = (slice(max(0, one.start - reach), one.stop + reach) for one in tile)
    part = source[rows, columns].float()[None, None]
    edges = list[int]()
    for one, kept, size in zip(tile, (rows, columns), part.shape[2:], strict=True):
        before = kept.start - one.start + reach
        edges = [before, one.stop - one.start + 2 * reach - before - size, *edges]
    edges[1] += (tile[1].start - tile[1].stop) % group
    return functional.pad(part, edges, mode="replicate")


def compute_shift(scale: int, steps: tuple[int, int], siting: str) -> tuple[float, float]:
    """Return the offset, in chroma samples, of enlarged chroma because of its siting.

    Chroma at the first of its `steps` luma samples (across, down) moves relative to their centre
    when there are more luma samples.
    """
    first = is_cosited(siting)
    across, down = (
        0.5 * (1 - 1 / scale) * (1 - 1 / step) if there else 0.0
        for step, there in zip(steps, first, strict=True)
    )
    return across, down


def open_network(path: Path, device: str = "cpu") -> Compact:
    """Return the network that a file holds, in float32; its sizes are the tensors'.

    Raises BadWeights.
    """
    stored = load_tensors(path)
    net = Compact(Shape.of({name: tensor.shape for name, tensor in stored.items()}))
    net.load_state_dict(check_tensors(stored, list_shapes(net), path))
    net.to(memory_format=torch.channels_last)
    return net.to(device, torch.float32).eval().requires_grad_(False)
