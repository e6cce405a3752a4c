"""Count frames that show two fields of different times: the comb meter of `filmgate check`."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from filmgate.media.fields.combs import extract_luma, measure_combs
from filmgate.media.pixels.planes import Planes
from filmgate.media.sources import VideoFile

_MAX_SHARE = Fraction(1, 100)  # of the moving frames that may look combed by chance


@dataclass(frozen=True, slots=True)
class CombReport:
    """How many of all `frames` move, and how many of those are combed; times in seconds."""

    frames: int
    moving: int
    combed: int
    first: Fraction | None
    last: Fraction | None

    @property
    def ok(self) -> bool:
        """Whether the video has no combs."""
        return self.combed <= _MAX_SHARE * self.moving


def count_combs(path: Path) -> CombReport:
    """Look at each frame of a video. Raises BadInput, Unsupported."""
    before: Planes | None = None
    frames = moving = 0
    times: list[Fraction] = []
    with VideoFile(path, deinterlace="off").open() as reader:
        for chunk, _ in reader.read(None, 8):
            for frame in chunk:
                planes = frame.image
                assert isinstance(planes, Planes)
                if before is not None:
                    combs = measure_combs(extract_luma(planes), extract_luma(before))
                    moving += combs.is_moving
                    times += [frame.time] * combs.is_combed
                before, frames = planes, frames + 1
    ends = (times[0], times[-1]) if times else (None, None)
    return CombReport(frames, moving, len(times), *ends)
