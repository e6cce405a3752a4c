"""The family `insightface`: faces in a video, and 106 points on each, as LatentSync was published.

Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", ICLR 2022. The
weights are for non-commercial research only, so nothing uses them unless it is named. UNPROVEN with
the published files: they could not be downloaded where this was written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from filmgate.core.stage import AnyStage
from filmgate.device.placement import Placement
from filmgate.errors import BadSetting
from filmgate.media.settings import check_settings
from filmgate.models.contracts import Family
from filmgate.models.families.insightface.published import DETECTOR, POINTS, verify_files


@dataclass(frozen=True, slots=True, kw_only=True)
class InsightFaceOptions:
    """Options of the family `insightface`."""

    weights: Path | None = None
    """A folder with det_10g.onnx and 2d106det.onnx of the pack buffalo_l. Default: the models
    folder."""

    most: int = 8
    """How many faces are found at most in a frame."""

    threshold: float = 0.5
    """Lowest score at which faces are found, 0 to 1."""

    smooth: bool = False
    """Smooth the points over time. The published code of LatentSync does not."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.most < 1:
            raise BadSetting(f"most is {self.most}: pass 1 or more")
        if not 0 < self.threshold < 1:
            raise BadSetting(f"threshold is {self.threshold}: pass a number between 0 and 1")


def build_tracker(options: InsightFaceOptions, placement: Placement) -> AnyStage:
    """See `Family.build_tracker`."""
    from filmgate.models.families.insightface import model
    from filmgate.models.people.smoothing import OneEuro
    from filmgate.models.people.tracker import SearchingTracker

    files = verify_files(options.weights)
    detector = placement.load(model.open_network, files[0], model.DETECTOR_SHAPES)
    points = placement.load(model.open_network, files[1], model.POINT_SHAPES)
    return SearchingTracker(
        model.FaceModel(detector, points, options.threshold), options.most, 1, options.threshold,
        OneEuro() if options.smooth else None,
    )  # fmt: skip


FAMILY = Family(
    name="insightface",
    summary="Faces: 106 points on each, for non-commercial research only. Unproven.",
    options=InsightFaceOptions,
    uses_device=False,
    build_tracker=build_tracker,
    weights=(DETECTOR, POINTS),
    needs_all_weights=True,
)
