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
        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        search.setFinestScale(ceil(log(max(1.0, a.size / self.finest_cells), 4)))
        # Refinement doubles the time and does not improve held-out frames.
        search.setVariationalRefinementIterations(0)
        rows, columns = a.shape
        a, b = (pad_edges(x, max(rows, _MIN_SIDE), max(columns, _MIN_SIDE)) for x in (a, b))
        nothing: Any = None
        ab, ba = (search.calc(x, y, nothing)[:rows, :columns] for x, y in ((a, b), (b, a)))
        return np.asarray(ab, np.float32), np.asarray(ba, np.float32)


def downsample(image: Any, cell: int) -> Any:
    """Return the mean of each cell x cell square; the last row and column are repeated."""
    rows, columns = (-(-n // cell) for n in image.shape[:2])
    filled = pad_edges(image, rows * cell, columns * cell)
    return cv2.resize(filled, (columns, rows), interpolation=cv2.INTER_AREA)


def pad_edges(image: Any, rows: int, columns: int) -> Any:
    """Return the image at this size, its last row and column repeated."""
    pad = (0, rows - image.shape[0], 0, columns - image.shape[1])
    return cv2.copyMakeBorder(image, *pad, cv2.BORDER_REPLICATE) if any(pad) else image
