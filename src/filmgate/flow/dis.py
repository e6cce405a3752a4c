"""Dense inverse search: optical flow without weights, on the CPU."""

from dataclasses import dataclass
from math import ceil, log
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Gray = npt.NDArray[np.uint8]  # (rows, columns)
Field = npt.NDArray[np.float32]  # (rows, columns, 2): how far along x and y, in cells of its grid

# OpenCV's search fails, or reads outside its memory, on pictures smaller than a few patches.
_SMALLEST = 64


@dataclass(frozen=True, slots=True)
class DisFlow:
    """Settings of dense inverse search. Kroeger et al., ECCV 2016; OpenCV's "medium" preset.

    `cell`: flow is found on the picture at 1/cell of its size (1, 2 or 4). `finest_cells`: the
    search stops at the first halving of that with no more cells, so large films take no longer.
    """

    cell: int = 2
    finest_cells: int = 1 << 18

    def both(self, a: Gray, b: Gray) -> tuple[Field, Field]:
        """Flow from `a` to `b` and from `b` to `a`, two pictures of the same size.

        The same pictures give the same bits while OpenCV has the same number of threads.
        """
        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        search.setFinestScale(ceil(log(max(1.0, a.size / self.finest_cells), 4)))
        # Refinement takes as long again, and held-out frames come out no better for it.
        search.setVariationalRefinementIterations(0)
        rows, columns = a.shape
        a, b = (padded(x, max(rows, _SMALLEST), max(columns, _SMALLEST)) for x in (a, b))
        nothing: Any = None
        ab, ba = (search.calc(x, y, nothing)[:rows, :columns] for x, y in ((a, b), (b, a)))
        return np.asarray(ab, np.float32), np.asarray(ba, np.float32)


def shrunk(picture: Any, cell: int) -> Any:
    """The mean of each cell x cell square; the last row and column are repeated to fill one."""
    rows, columns = (-(-n // cell) for n in picture.shape[:2])
    whole = padded(picture, rows * cell, columns * cell)
    return cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)


def padded(picture: Any, rows: int, columns: int) -> Any:
    """The picture at this size, its last row and column repeated."""
    pad = (0, rows - picture.shape[0], 0, columns - picture.shape[1])
    return cv2.copyMakeBorder(picture, *pad, cv2.BORDER_REPLICATE) if any(pad) else picture
