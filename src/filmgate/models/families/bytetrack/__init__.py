"""The family `bytetrack`: who is who by motion and overlap of boxes, without weights.

Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from filmgate.device.placement import Placement
from filmgate.errors import BadSetting
from filmgate.media.settings import check_settings
from filmgate.models.contracts import Family

if TYPE_CHECKING:
    from filmgate.models.families.bytetrack.tracker import ByteTracker


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteTrackOptions:
    """Options of the family `bytetrack`."""

    high: float = 0.6
    """Score, 0 to 1, from which a detection is matched first and may be a new person."""

    low: float = 0.1
    """Score, 0 to 1, from which a detection may continue a track."""

    hits: int = 3
    """Frames in a row in which a person is found before the track counts; these are filled in."""

    keep: float = 2.0
    """Seconds for which a person who is not found keeps the number."""

    fill: int = 8
    """Frames at most, between two in which a person is found, for which the box is computed from
    both. Each adds one frame to the delay."""

    def __post_init__(self) -> None:
        check_settings(self)
        for name in ("high", "low"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadSetting(f"{name} is {getattr(self, name)}: pass a number from 0 to 1")
        if self.low > self.high:
            raise BadSetting(f"low is {self.low} and high is {self.high}: pass a lower low")
        if not 1 <= self.hits <= 100 or not 0 <= self.fill <= 100:
            raise BadSetting(f"hits is {self.hits} and fill is {self.fill}: pass 1 to 100 and "
                             "0 to 100 frames")  # fmt: skip
        if not 0 <= self.keep <= 60:
            raise BadSetting(f"keep is {self.keep}: pass 0 to 60 seconds")


def build_person_tracker(options: ByteTrackOptions, placement: Placement) -> ByteTracker:
    """See `Family.build_person_tracker`."""
    from filmgate.models.families.bytetrack.tracker import ByteTracker

    return ByteTracker(options.high, options.low, options.hits, options.keep, options.fill)


FAMILY = Family(
    name="bytetrack",
    summary="Follows people by motion and overlap of their boxes, on the CPU. Needs no download.",
    options=ByteTrackOptions,
    uses_device=False,
    build_person_tracker=build_person_tracker,
)
