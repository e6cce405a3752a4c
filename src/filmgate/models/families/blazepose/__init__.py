"""The family `blazepose`: people in a video, and 33 points of each, in three dimensions.

Bazarevsky et al., "BlazePose: On-device Real-time Body Pose Tracking", 2020. The weights are those
of MediaPipe's package.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filmgate.core.stage import AnyStage
from filmgate.device.placement import Placement
from filmgate.errors import BadSetting
from filmgate.models.contracts import Family
from filmgate.models.people.published import MEDIAPIPE, verify_files
from filmgate.weights.definitions import Weights

if TYPE_CHECKING:
    from filmgate.models.families.blazepose.detector import PoseDetector
    from filmgate.models.families.blazepose.model import PoseModel

DETECTOR = Weights(
    name="blazepose_detector",
    family="blazepose",
    file="pose_detection.tflite",
    size_bytes=2_959_046,
    sha256="9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    licence="Apache-2.0",
    commercial=True,
    proven="2026-11-27: points of flipped frames of real clips within 4 % of the box",
    path="mediapipe/modules/pose_detection/pose_detection.tflite",
    wheel=MEDIAPIPE,
)
POINTS = Weights(
    name="blazepose_points",
    family="blazepose",
    file="pose_landmark_full.tflite",
    size_bytes=6_440_512,
    sha256="e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    licence="Apache-2.0",
    commercial=True,
    proven="2026-11-27: points of flipped frames of real clips within 4 % of the box",
    path="mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
    wheel=MEDIAPIPE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlazePoseOptions:
    """Options of the family `blazepose`."""

    weights: Path | None = None
    """A folder with the files of weights. Default: the models folder."""

    most: int = 8
    """How many people are followed at most."""

    every: int = 10
    """Frames between searches of the complete image for new people. A detector searches each frame,
    and refuses another number."""

    threshold: float = 0.9
    """Lowest score at which people are found, 0 to 1. A lower one finds more, right and wrong."""

    smooth: bool = True
    """Smooth the points over time. A detector does not, and refuses False."""


def build_tracker(options: BlazePoseOptions, placement: Placement) -> AnyStage:
    """See `Family.build_tracker`."""
    from filmgate.models.people.smoothing import OneEuro
    from filmgate.models.people.tracker import Tracker

    return Tracker(
        _open_model(options, placement), options.most, options.every, options.threshold,
        OneEuro() if options.smooth else None,
    )  # fmt: skip


def _open_model(options: BlazePoseOptions, placement: Placement) -> PoseModel:
    from filmgate.models.families.blazepose import model
    from filmgate.models.people.detector import Detector
    from filmgate.models.people.networks import open_network

    files = verify_files((DETECTOR, POINTS), options.weights)
    finder = placement.load(open_network, files[0], model.DETECTOR_SHAPES)
    network = placement.load(open_network, files[1], model.POINTS_SHAPES)
    return model.PoseModel(Detector(finder, model.STRIDES, min(0.5, options.threshold)), network)


def build_detector(options: BlazePoseOptions, placement: Placement) -> PoseDetector:
    """See `Family.build_detector`. Raises BadSetting for options of a tracker."""
    from filmgate.models.families.blazepose.detector import PoseDetector

    if (options.every, options.smooth) != (BlazePoseOptions().every, True):
        raise BadSetting("every and smooth are for following points, and a detector looks at each "
                         "frame by itself: omit them")  # fmt: skip
    return PoseDetector(_open_model(options, placement), options.most, options.threshold)


FAMILY = Family(
    name="blazepose",
    summary="People: 33 points of each body, on the CPU.",
    options=BlazePoseOptions,
    uses_device=False,
    build_tracker=build_tracker,
    build_detector=build_detector,
    tracker_only=("every", "smooth"),
    weights=(DETECTOR, POINTS),
    needs_all_weights=True,
)
