"""The brightness of an image on a grid of 32x32 cells, and how much two of them differ."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from filmgate.core.frame import Frame
from filmgate.core.values import iter_arrays

SIDE = 32
_ROWS = 8  # sampled in each cell, if it has more
Grid = npt.NDArray[np.float32]  # (SIDE, SIDE) or the size of a smaller image; black 0, white 1


@dataclass(frozen=True, slots=True)
class LumaGrid:
    """What is kept of a frame: its index, its time on the input's clock, its brightness."""

    index: int
    time: Fraction
    grid: Grid

    @property
    def level(self) -> float:
        """The mean brightness."""
        return float(self.grid.mean())

    @property
    def contrast(self) -> float:
        """The standard deviation of the brightness."""
        return float(self.grid.std())


def measure_luma(frame: Frame, time: Fraction) -> LumaGrid | None:
    """Return the brightness of a frame's first plane or of its RGB; None if it has no image."""
    image = next((array for array in iter_arrays(frame.image) if array.ndim >= 2), None)
    if image is None or 0 in image.shape:
        return None
    bits = getattr(frame.image, "bits", None)
    grid = _average_tensor(image) if hasattr(image, "device") and not isinstance(
        image, np.ndarray) else _average_array(np.asarray(image))  # fmt: skip
    if grid is None:
        return None
    if isinstance(bits, int):
        grid = grid / np.float32((1 << bits) - 1)
    elif "int" in str(image.dtype):
        grid = grid / np.float32(255 if "int8" in str(image.dtype) else 65535)
    return LumaGrid(frame.index, time, np.ascontiguousarray(grid, np.float32))


def difference(a: LumaGrid, b: LumaGrid) -> float:
    """Return the mean absolute difference, 0 to 1, after removing each one's mean brightness."""
    if a.grid.shape != b.grid.shape:
        return 0.0
    return float(np.abs((a.grid - a.grid.mean()) - (b.grid - b.grid.mean())).mean())


def normalize(luma: LumaGrid) -> Grid:
    """Return the grid with its mean brightness removed, in units of its contrast."""
    grid = luma.grid
    return np.asarray((grid - grid.mean()) / max(float(grid.std()), 1e-4), np.float32)


def normalized_difference(a: Grid, b: Grid) -> float:
    """Return the mean absolute difference of two grids of `normalize`; 0 if their sizes differ."""
    return float(np.abs(a - b).mean()) if a.shape == b.shape else 0.0


def _average_array(image: npt.NDArray[Any]) -> Grid | None:
    """Return the means of the cells; channels have equal weight."""
    if image.ndim == 3:
        channels = 0 if image.shape[0] <= 4 else 2
        image = np.moveaxis(image, channels, 0)[:3]
        cells = [_average_cells(plane) for plane in image]
        return np.asarray(np.mean(cells, axis=0), np.float32)
    return _average_cells(image) if image.ndim == 2 else None


def _average_cells(plane: npt.NDArray[Any]) -> Grid:
    plane = plane[:: max(1, plane.shape[0] // (SIDE * _ROWS))]
    starts = [np.arange(min(SIDE, n)) * n // min(SIDE, n) for n in plane.shape]
    kind = np.float64 if plane.dtype.kind == "f" else np.uint64
    rows = np.add.reduceat(plane, starts[0], axis=0, dtype=kind)
    sums = np.add.reduceat(rows, starts[1], axis=1)
    sizes = [np.diff([*start, n]) for start, n in zip(starts, plane.shape, strict=True)]
    return np.asarray(sums / np.outer(*sizes), np.float32)


def _average_tensor(image: Any) -> Grid | None:
    """Return the same, computed on the tensor's device; only the means are copied."""
    if image.ndim not in (2, 3):
        return None
    import torch

    planes = image.detach()
    if planes.ndim == 3:
        planes = (planes if planes.shape[0] <= 4 else planes.movedim(2, 0))[:3]
    planes = planes.reshape(-1, *planes.shape[-2:]).float()
    size = (min(SIDE, planes.shape[-2]), min(SIDE, planes.shape[-1]))
    means = torch.nn.functional.adaptive_avg_pool2d(planes, size).mean(0)
    return np.asarray(means.cpu().numpy(), np.float32)
