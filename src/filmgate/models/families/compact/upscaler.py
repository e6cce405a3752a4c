"""The network of `compact` applied to planes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from filmgate.core.prefetch import map_threads
from filmgate.errors import Unsupported
from filmgate.media.pixels.color import get_code_levels, is_cosited, quantize
from filmgate.media.pixels.format_names import get_subsampling
from filmgate.media.pixels.planes import Plane, Planes
from filmgate.models.families.compact.net import Compact, Shape, build_kernel, convolve, list_shapes
from filmgate.weights.state_dict import check_tensors, load_tensors

STRIP_SAMPLES = 1 << 16  # samples of the input per strip, about
THREADS = min(4, os.cpu_count() or 1)  # each has its own strips, so the count changes no bit


@dataclass(frozen=True)
class CompactUpscaler:
    """Enlarges planes, without state; `rows` at a time (None: by their length)."""

    net: Compact
    device: str = "cpu"
    rows: int | None = None

    def upscale(self, image: object) -> Planes:
        """Return planes of the same format, `scale` times as wide and high. Raises Unsupported."""
        if not isinstance(image, Planes):
            raise Unsupported(f"compact cannot take {type(image).__name__}: pass planes as they "
                              "were decoded")  # fmt: skip
        pixels, scale = image.pixels, self.net.shape.scale
        learned = 3 if pixels.startswith("gbr") else 1  # planes for the network
        arrays: list[Plane] = []
        for n, plane in enumerate(image.arrays):
            if n < learned:
                result = self._enlarge(plane, self._apply_network(image), self.net.reach, pixels)
            else:
                steps = get_subsampling(pixels) if n < 3 else (1, 1)
                weights = build_kernel(scale, compute_shift(scale, steps, image.colour.siting)).to(
                    self.device
                )
                function = partial(convolve, weights=weights)
                result = self._enlarge(plane, function, weights.shape[-1] // 2, pixels)
                across, down = (-(-n * scale // step)
                                for n, step in zip(image.size, steps, strict=True))  # fmt: skip
                result = result[:down, :across].copy()
            arrays.append(result)
        return image.with_arrays(tuple(arrays))

    def _apply_network(self, image: Planes) -> Callable[[Tensor], Tensor]:
        """Return the network as a function of code values; it takes 0 at black and 1 at white."""
        (low, width), _ = get_code_levels(image.pixels, image.colour)

        def function(codes: Tensor) -> Tensor:
            return self.net.forward_padded(codes.sub_(low).mul_(1 / width)).mul_(width).add_(low)

        return function

    def _enlarge(
        self, plane: Plane, function: Callable[[Tensor], Tensor], reach: int, pixels: str
    ) -> Plane:
        """Enlarge in strips of rows, each with its `reach` around: the same as all at once."""
        height, width = plane.shape
        scale, rows = self.net.shape.scale, self.rows or max(8, STRIP_SAMPLES // width)
        padded = np.pad(plane, reach, mode="edge")
        result: Plane = np.empty((height * scale, width * scale), plane.dtype)

        def strip(first: int) -> None:
            last = min(height, first + rows)
            with torch.inference_mode():
                part = torch.from_numpy(padded[first : last + 2 * reach]).to(self.device)
                large = function(part.float()[None, None])[0, 0]
                result[first * scale : last * scale] = quantize(large, pixels)

        map_threads(strip, range(0, height, rows), THREADS if self.device == "cpu" else 1)
        return result


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
    return net.to(device, torch.float32).eval().requires_grad_(False)
