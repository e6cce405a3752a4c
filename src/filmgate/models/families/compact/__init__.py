"""The family `compact`: enlarges two or four times by a small network of our own, on the CPU.

Its weights are in the package; `training/compact.py` makes them from nothing. Luma (in RGB every
channel) goes through the network; chroma and alpha are enlarged by Lanczos.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from filmgate.core.frame import StreamSpec
from filmgate.core.prefetch import map_threads
from filmgate.errors import BadSetting, BadWeights, Unsupported
from filmgate.media.pixels import rgb
from filmgate.media.pixels.planes import Plane, Planes, is_hdr, steps_of
from filmgate.models.contracts import Knobs
from filmgate.models.families.compact.net import SCALES, Compact, Shape, kernel, plain
from filmgate.weights.state_dict import fitting, tensors

KNOBS = ("weights", "tile")
STRIP = 1 << 16  # samples of the small picture that are enlarged at a time, about
THREADS = min(4, os.cpu_count() or 1)  # each has strips of its own, so they move no bit


@dataclass(frozen=True)
class Enlarge:
    """Enlarges planes and remembers nothing; `rows` at a time (None: by how long they are)."""

    net: Compact
    device: str = "cpu"
    rows: int | None = None

    def picture(self, image: object) -> Planes:
        """Planes of the same format, `scale` times as wide and high. Raises Unsupported."""
        if not isinstance(image, Planes):
            raise Unsupported(f"compact was given {type(image).__name__}: it wants planes as they "
                              "were decoded")  # fmt: skip
        pixels, scale = image.pixels, self.net.shape.scale
        learnt = 3 if pixels.startswith("gbr") else 1  # planes that the network is for
        arrays: list[Plane] = []
        for n, plane in enumerate(image.arrays):
            if n < learnt:
                made = self._enlarged(plane, self._shown(image), self.net.reach, pixels)
            else:
                steps = steps_of(pixels) if n < 3 else (1, 1)
                weights = kernel(scale, shift(scale, steps, image.colour.siting)).to(self.device)
                way = partial(plain, weights=weights)
                made = self._enlarged(plane, way, weights.shape[-1] // 2, pixels)
                across, down = (-(-n * scale // step)
                                for n, step in zip(image.size, steps, strict=True))  # fmt: skip
                made = made[:down, :across].copy()
            arrays.append(made)
        return image.with_arrays(tuple(arrays))

    def _shown(self, image: Planes) -> Callable[[Tensor], Tensor]:
        """The network for code values; what it was trained on is 0 at black and 1 at white."""
        (low, width), _ = rgb.levels(image.pixels, image.colour)

        def way(codes: Tensor) -> Tensor:
            return self.net.inner(codes.sub_(low).mul_(1 / width)).mul_(width).add_(low)

        return way

    def _enlarged(
        self, plane: Plane, way: Callable[[Tensor], Tensor], reach: int, pixels: str
    ) -> Plane:
        """In strips of rows, each with the `reach` around it: what it would be as a whole."""
        height, width = plane.shape
        scale, rows = self.net.shape.scale, self.rows or max(8, STRIP // width)
        seen = np.pad(plane, reach, mode="edge")
        made: Plane = np.empty((height * scale, width * scale), plane.dtype)

        def strip(first: int) -> None:
            last = min(height, first + rows)
            with torch.inference_mode():
                part = torch.from_numpy(seen[first : last + 2 * reach]).to(self.device)
                large = way(part.float()[None, None])[0, 0]
                made[first * scale : last * scale] = rgb.codes(large, pixels)

        map_threads(strip, range(0, height, rows), THREADS if self.device == "cpu" else 1)
        return made


def shift(scale: int, steps: tuple[int, int], siting: str) -> tuple[float, float]:
    """How much further on, in chroma samples, enlarged chroma looks because of where it lies.

    Chroma on the first of its `steps` luma samples (across, down) moves against their middle when
    there are more luma samples.
    """
    first = rgb.on_first(siting)
    across, down = (
        0.5 * (1 - 1 / scale) * (1 - 1 / step) if there else 0.0
        for step, there in zip(steps, first, strict=True)
    )
    return across, down


def claims(shapes: Mapping[str, Sequence[int]]) -> bool:
    """Whether these are the tensors of a compact of any size."""
    try:
        wanted = _shapes(Compact(Shape.of(shapes), "meta"))
    except (BadWeights, RuntimeError):
        return False
    return wanted == {name: tuple(shape) for name, shape in shapes.items()}


def opened(path: Path, device: str = "cpu") -> Compact:
    """The network that a file holds, in float32; its sizes are the tensors'. Raises BadWeights."""
    found = tensors(path)
    net = Compact(Shape.of({name: tensor.shape for name, tensor in found.items()}))
    net.load_state_dict(fitting(found, _shapes(net), path))
    return net.to(device, torch.float32).eval().requires_grad_(False)


def upscaler(spec: StreamSpec, scale: int, knobs: Knobs) -> object:
    """See `filmgate.models.upscaler`; without weights the package's own are used."""
    if scale not in SCALES:
        raise BadSetting(f"scale is {scale}: the model compact has 2 and 4")
    if not spec.pixels.startswith(("yuv", "gray", "gbr")):
        raise Unsupported(f"compact was promised {spec.pixels}: it wants planes as they were "
                          "decoded")  # fmt: skip
    if is_hdr(spec.colour):
        raise Unsupported(
            f"the film is HDR (transfer {spec.colour.transfer}) and compact knows only SDR: pass "
            "--tonemap to bring it to BT.709"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    file = f"x{scale}.safetensors"
    place = knobs.weights or Path(__file__).with_name(file)
    place = place / file if place.is_dir() else place
    net = opened(place, device)
    if net.shape.scale != scale:
        raise BadWeights(f"{place} enlarges {net.shape.scale} times and scale is {scale}: pass "
                         f"--scale {net.shape.scale}, or other weights")  # fmt: skip
    return Enlarge(net, device, knobs.tile).picture


def _shapes(net: Compact) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
