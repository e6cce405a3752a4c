"""The family `opencv_hog`: people who stand or walk, by OpenCV's linear classifier of gradients.

Dalal & Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005. The classifier is
part of OpenCV.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from filmgate.device.placement import Placement
from filmgate.errors import BadSetting
from filmgate.media.settings import check_settings
from filmgate.models.contracts import Family

if TYPE_CHECKING:
    from filmgate.models.families.opencv_hog.detector import HogDetector


@dataclass(frozen=True, slots=True, kw_only=True)
class HogOptions:
    """Options of the family `opencv_hog`."""

    rows: int = 256
    """Rows of the image that is searched, 128 to 1080. People of 96 or more of these are found:
    more rows find smaller people, take longer, and find more that are none."""

    def __post_init__(self) -> None:
        check_settings(self)
        if not 128 <= self.rows <= 1080:
            raise BadSetting(f"rows is {self.rows}: pass 128 to 1080")


def build_detector(options: HogOptions, placement: Placement) -> HogDetector:
    """See `Family.build_detector`."""
    from filmgate.models.families.opencv_hog.detector import HogDetector

    return HogDetector(options.rows)


FAMILY = Family(
    name="opencv_hog",
    summary="People who stand or walk, by gradients, on the CPU. Needs no download.",
    options=HogOptions,
    sample_options=HogOptions(rows=128),
    uses_device=False,
    build_detector=build_detector,
)
