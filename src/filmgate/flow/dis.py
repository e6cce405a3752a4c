"""Dense inverse search: optical flow without weights, on the CPU."""

from dataclasses import dataclass
from math import ceil, log
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Gray = npt.NDArray[np.uint8]  # (rows, columns)
Field = npt.NDArray[np.float32]  # (rows, columns, 2): x and y, in cells of its grid

# OpenCV's search fails, or reads outside its memory, on images smaller than a few patches.
_MIN_SIDE = 64


@dataclass(frozen=True, slots=True)
class DisFlow:
    """Settings of dense inverse search. Kroeger et al., ECCV 2016; OpenCV's "medium" preset.

    `cell`: flow is estimated at 1/cell of the image's size (1, 2 or 4). `finest_cells`: the search
    stops at the first halving with at most so many cells, so larger images take no longer.
    """

    cell: int = 2
    finest_cells: int = 1 << 18

    def estimate_both(self, a: Gray, b: Gray) -> tuple[Field, Field]:
        """Return flow from `a` to `b` and from `b` to `a`, two images of the same size.

        The same images give the same bits while OpenCV has the same number of threads.
        """
        search = self._make_search(a.size)
        return _search_flow(search, a, b), _search_flow(search, b, a)

    def estimate(self, a: Gray, b: Gray) -> Field:
        """Return flow from `a` to `b`: the first of `estimate_both`, in half the time."""
        return _search_flow(self._make_search(a.size), a, b)

    def _make_search(self, cells: int) -> cv2.DISOpticalFlow:
        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        search.setFinestScale(ceil(log(max(1.0, cells / self.finest_cells), 4)))
        # Refinement doubles the time and does not improve held-out frames.
        search.setVariationalRefinementIterations(0)
        return search


def _search_flow(search: cv2.DISOpticalFlow, a: Gray, b: Gray) -> Field:
    rows, columns = a.shape
    a, b = (pad_edges(x, max(rows, _MIN_SIDE), max(columns, _MIN_SIDE)) for x in (a, b))
    nothing: Any = None
    return np.asarray(search.calc(a, b, nothing)[:rows, :columns], np.float32)


def downsample(image: Any, cell: int) -> Any:
    """Return the mean of each cell x cell square; the last row and column are repeated."""
    rows, columns = (-(-n // cell) for n in image.shape[:2])
    filled = pad_edges(image, rows * cell, columns * cell)
    return cv2.resize(filled, (columns, rows), interpolation=cv2.INTER_AREA)


def pad_edges(image: Any, rows: int, columns: int) -> Any:
    """Return the image at this size, its last row and column repeated."""
    pad = (0, rows - image.shape[0], 0, columns - image.shape[1])
    return cv2.copyMakeBorder(image, *pad, cv2.BORDER_REPLICATE) if any(pad) else image
