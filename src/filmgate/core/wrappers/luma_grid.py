"""A picture at a glance: its brightness on a grid of 32x32, and what two glances have in common."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from filmgate.core.frame import Frame
from filmgate.core.values import iter_arrays

SIDE = 32
_ROWS = 8  # of each cell that are looked at, where it has more
Grid = npt.NDArray[np.float32]  # (SIDE, SIDE) or as small as the picture; black 0, white 1


@dataclass(frozen=True, slots=True)
class LumaGrid:
    """What is remembered of a frame: its number, its time on the input's clock, its brightness."""

    index: int
    time: Fraction
    grid: Grid

    @property
    def level(self) -> float:
        """How bright it is."""
        return float(self.grid.mean())

    @property
    def contrast(self) -> float:
        """How much there is to see in it."""
        return float(self.grid.std())


def luma_grid(frame: Frame, time: Fraction) -> LumaGrid | None:
    """The frame at a glance; None for an image that holds no picture."""
    picture = next((array for array in iter_arrays(frame.image) if array.ndim >= 2), None)
    if picture is None or 0 in picture.shape:
        return None
    bits = getattr(frame.image, "bits", None)
    grid = _tensor_grid(picture) if hasattr(picture, "device") and not isinstance(
        picture, np.ndarray) else _array_grid(np.asarray(picture))  # fmt: skip
    if grid is None:
        return None
    if isinstance(bits, int):
        grid = grid / np.float32((1 << bits) - 1)
    elif "int" in str(picture.dtype):
        grid = grid / np.float32(255 if "int8" in str(picture.dtype) else 65535)
    return LumaGrid(frame.index, time, np.ascontiguousarray(grid, np.float32))


def difference(a: LumaGrid, b: LumaGrid) -> float:
    """Mean difference, 0 to 1, of what is to be seen; brightness as such does not count."""
    if a.grid.shape != b.grid.shape:
        return 0.0
    return float(np.abs((a.grid - a.grid.mean()) - (b.grid - b.grid.mean())).mean())


def normalized_difference(a: LumaGrid, b: LumaGrid) -> float:
    """The same in units of each one's contrast: neither brightness nor contrast count."""
    if a.grid.shape != b.grid.shape:
        return 0.0
    return float(np.abs(_plain(a.grid) - _plain(b.grid)).mean())


def _plain(grid: Grid) -> Grid:
    return np.asarray((grid - grid.mean()) / max(float(grid.std()), 1e-4), np.float32)


def _array_grid(picture: npt.NDArray[Any]) -> Grid | None:
    """Means of the cells; colours count alike."""
    if picture.ndim == 3:
        channels = 0 if picture.shape[0] <= 4 else 2
        picture = np.moveaxis(picture, channels, 0)[:3]
        cells = [_means(one) for one in picture]
        return np.asarray(np.mean(cells, axis=0), np.float32)
    return _means(picture) if picture.ndim == 2 else None


def _means(plane: npt.NDArray[Any]) -> Grid:
    plane = plane[:: max(1, plane.shape[0] // (SIDE * _ROWS))]
    starts = [np.arange(min(SIDE, n)) * n // min(SIDE, n) for n in plane.shape]
    kind = np.float64 if plane.dtype.kind == "f" else np.uint64
    rows = np.add.reduceat(plane, starts[0], axis=0, dtype=kind)
    sums = np.add.reduceat(rows, starts[1], axis=1)
    sizes = [np.diff([*start, n]) for start, n in zip(starts, plane.shape, strict=True)]
    return np.asarray(sums / np.outer(*sizes), np.float32)


def _tensor_grid(picture: Any) -> Grid | None:
    """The same where the tensor lies; only the means come here."""
    if picture.ndim not in (2, 3):
        return None
    import torch

    planes = picture.detach()
    if planes.ndim == 3:
        planes = (planes if planes.shape[0] <= 4 else planes.movedim(2, 0))[:3]
    planes = planes.reshape(-1, *planes.shape[-2:]).float()
    size = (min(SIDE, planes.shape[-2]), min(SIDE, planes.shape[-1]))
    means = torch.nn.functional.adaptive_avg_pool2d(planes, size).mean(0)
    return np.asarray(means.cpu().numpy(), np.float32)
