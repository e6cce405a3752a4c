"""See in frames whether they show two fields of different times, and which field is first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filmgate.media.pixels.planes import Planes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Luma = npt.NDArray[np.int16]

_MOVED, _EDGE = 8, 10  # differences of samples of 8 bits
_MIN_MOVING = 0.002  # of a frame, so that it is worth a look
_MIN_COMBED = 0.02  # of what moves
_MIN_RATIO = 2  # combs of two fields to those within each field, as fine detail has them
_MAX_COLUMNS = 200  # that are looked at
_MAX_LINES = 1200  # no interlaced video has more


@dataclass(frozen=True, slots=True)
class Combs:
    """How much of a frame has moved, and how much of that is combed: counts of `total` samples.

    `near`: away from the lines above and below, which are alike. `far`: the same within each field,
    counted only where `near` is worth a comparison.
    """

    moving: int
    near: int
    far: int
    total: int

    @property
    def is_moving(self) -> bool:
        """Whether enough moves to see combs."""
        return self.moving > _MIN_MOVING * self.total

    @property
    def is_combed(self) -> bool:
        """Whether the frame shows two fields of different times."""
        return self.is_moving and (
            self.near > _MIN_COMBED * self.moving and self.near > _MIN_RATIO * self.far
        )


def extract_luma(planes: Planes) -> Luma:
    """Return the first plane, of 8 bits, in some of its columns."""
    import numpy as np

    plane = planes.arrays[0]
    step = -(-plane.shape[1] // _MAX_COLUMNS)
    return np.asarray(plane[:, ::step] >> (planes.bits - 8), np.int16)


def can_have_fields(planes: Planes) -> bool:
    """Whether a frame is of a size that interlaced video has."""
    return 16 <= planes.size[1] <= _MAX_LINES


def measure_combs(luma: Luma, before: Luma) -> Combs:
    """Return the combs of a frame, given the one before it."""
    import numpy as np

    moved = np.abs(luma - before) > _MOVED
    moving = int(np.count_nonzero(moved))
    if moving <= _MIN_MOVING * luma.size:
        return Combs(moving, 0, 0, luma.size)
    near = _count_combs(luma, moved, 1)
    far = _count_combs(luma, moved, 2) if near > _MIN_COMBED * moving else 0
    return Combs(moving, near, far, luma.size)


def find_first_field(frames: Iterable[Planes]) -> str:
    """Return which field is first in frames that are combed, "top" or "bottom"; empty if none is.

    A frame of the later field before and of the earlier one now has less combs than one of the
    other two: they are neighbours in time.
    """
    before: Luma | None = None
    evidence = 0
    for planes in frames:
        luma = extract_luma(planes)
        same = before is not None and before.shape == luma.shape
        if before is not None and same and measure_combs(luma, before).is_combed:
            top_first, bottom_first = luma.copy(), luma.copy()
            top_first[1::2], bottom_first[::2] = before[1::2], before[::2]
            evidence += measure_combs(bottom_first, before).near
            evidence -= measure_combs(top_first, before).near
        before = luma
    return "top" if evidence > 0 else "bottom" if evidence < 0 else ""


def _count_combs(luma: Luma, moved: npt.NDArray[np.bool_], lines: int) -> int:
    """Count samples that have moved, and are above or below both neighbours `lines` away."""
    import numpy as np

    above, here, below = luma[: -2 * lines], luma[lines:-lines], luma[2 * lines :]
    up, down = here - above, here - below
    edge = np.minimum(np.abs(up), np.abs(down))
    combed = (edge > _EDGE) & ((up > 0) == (down > 0)) & moved[lines:-lines]
    combed &= 2 * np.abs(above - below) < edge
    return int(np.count_nonzero(combed))
