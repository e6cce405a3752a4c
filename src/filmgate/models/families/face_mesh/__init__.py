"""The family `face_mesh`: faces in a video, and 468 points on the surface of each.

Bazarevsky et al., "BlazeFace", 2019; Kartynnik et al., "Real-time Facial Surface Geometry from
Monocular Video on Mobile GPUs", 2019. The weights are those of MediaPipe's package.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filmgate.core.stage import AnyStage
from filmgate.device.placement import Placement
from filmgate.models.contracts import Family
from filmgate.models.people.published import MEDIAPIPE, verify_files
from filmgate.weights.definitions import Weights

SHORT_RANGE = Weights(
    name="blazeface_short",
    family="face_mesh",
    file="face_detection_short_range.tflite",
    size_bytes=229_714,
    sha256="bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    licence="Apache-2.0",
    commercial=True,
    proven="2026-11-27: points of flipped frames of real clips within 2.5 % of the box",
    path="mediapipe/modules/face_detection/face_detection_short_range.tflite",
    wheel=MEDIAPIPE,
)
FULL_RANGE = Weights(
    name="blazeface_full",
    family="face_mesh",
    file="face_detection_full_range_sparse.tflite",
    size_bytes=676_746,
    sha256="2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    licence="Apache-2.0",
    commercial=True,
    proven="2026-11-27: points of flipped frames of real clips within 2.5 % of the box",
    path="mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
    wheel=MEDIAPIPE,
)
POINTS = Weights(
    name="face_mesh_points",
    family="face_mesh",
    file="face_landmark.tflite",
    size_bytes=1_242_398,
    sha256="1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    licence="Apache-2.0",
    commercial=True,
    proven="2026-11-27: points of flipped frames of real clips within 2.5 % of the box",
    path="mediapipe/modules/face_landmark/face_landmark.tflite",
    wheel=MEDIAPIPE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceMeshOptions:
    """Options of the family `face_mesh`."""

    weights: Path | None = None
    """A folder with the files of weights. Default: the models folder."""

    range: Literal["short", "full"] = "full"
    """Faces within 2 metres of the camera, or within 5."""

    most: int = 8
    """How many faces are followed at most."""

    every: int = 10
    """Frames between searches of the complete image for new faces."""

    threshold: float = 0.9
    """Lowest score at which faces are found, 0 to 1. A lower one finds more, right and wrong."""

    smooth: bool = True
    """Smooth the points over time."""

    lip_spread: bool = False
    """Read each face in four regions and record how far apart its lips are in them, in parts of the
    distance between the eyes: under 0.09 where they are seen, over 0.11 where they are covered."""


def build_tracker(options: FaceMeshOptions, placement: Placement) -> AnyStage:
    """See `Family.build_tracker`."""
    from filmgate.models.families.face_mesh import model
    from filmgate.models.people.detector import Detector
    from filmgate.models.people.networks import open_network
    from filmgate.models.people.smoothing import OneEuro
    from filmgate.models.people.tracker import Tracker

    finder_weights = SHORT_RANGE if options.range == "short" else FULL_RANGE
    files = verify_files((finder_weights, POINTS), options.weights)
    finder = placement.load(open_network, files[0], model.DETECTOR_SHAPES[options.range])
    network = placement.load(open_network, files[1], model.MESH_SHAPES)
    detector = Detector(finder, model.STRIDES[options.range], min(0.5, options.threshold))
    faces = model.FaceModel(detector, network, options.lip_spread)
    return Tracker(
        faces, options.most, options.every, options.threshold,
        OneEuro() if options.smooth else None,
    )  # fmt: skip


FAMILY = Family(
    name="face_mesh",
    summary="Faces: 468 points on each, on the CPU.",
    options=FaceMeshOptions,
    uses_device=False,
    build_tracker=build_tracker,
    covered_options=FaceMeshOptions(lip_spread=True),
    weights=(SHORT_RANGE, FULL_RANGE, POINTS),
    needs_all_weights=True,
)
