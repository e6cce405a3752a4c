"""BlazePose: where people are, and 33 points of each, in three dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from filmgate.media.pixels.planes import Planes
from filmgate.models.people.detector import Detection, Detector
from filmgate.models.people.networks import Network
from filmgate.models.people.regions import Floats, Region, crop, find_upright
from filmgate.models.people.tracker import Reading

# Shapes of the input and the outputs of the published networks.
DETECTOR_SHAPES = ((1, 224, 224, 3), (1, 2254, 12), (1, 2254, 1))
POINTS_SHAPES = ((1, 256, 256, 3), (1, 195), (1, 1), (1, 256, 256, 1), (1, 64, 64, 39), (1, 117))
STRIDES = (8, 8, 16, 16, 32, 32, 32, 32, 32, 32)
POINTS = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye",
    "right_eye_outer", "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_pinky",
    "right_pinky", "left_index", "right_index", "left_thumb", "right_thumb", "left_hip",
    "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel",
    "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip
_HIPS, _TOP = 33, 34  # points after the 33: the middle of the hips, and a circle around the body
_MARGIN = 1.25  # of the region around that circle


@dataclass(frozen=True)
class PoseModel:
    """The detector, and the network of points in a region of 256x256 pixels.

    Points of a record: x and y in pixels, z in pixels from the middle of the hips, smaller is
    nearer. `visibility` and `presence` (33), 0 to 1: not hidden, and inside the image. `world`
    (33, 3): metres from the middle of the hips.
    """

    detector: Detector
    network: Network
    kind: ClassVar[str] = "pose"
    count: ClassVar[int] = len(POINTS)

    def detect(self, image: Planes, thorough: bool) -> list[Detection]:
        """See `PointModel`."""
        return self.detector.detect(image, thorough)

    def start_region(self, found: Detection) -> Region:
        """Return the region around the body: two of the detection's points give its circle."""
        return find_upright(found.points[0], found.points[1]).scale(_MARGIN)

    def next_region(self, points: Floats) -> Region:
        """Return the region around the body, by the two points that follow the 33."""
        return find_upright(points[_HIPS, :2], points[_TOP, :2]).scale(_MARGIN)

    def read(self, image: Planes, region: Region) -> Reading:
        """See `PointModel`."""
        side = self.network.side
        values, score, _, _, world = self.network(crop(image, region, side))
        table = values.astype(np.float64).reshape(-1, 5)
        points = np.column_stack(
            [region.to_image(table[:, :2] / side), table[:, 2] / side * region.side]
        )
        shares = 1 / (1 + np.exp(-table[: self.count, 3:]))
        metres = world.astype(np.float64).reshape(-1, 3)[: self.count]
        metres = np.column_stack([region.turn(metres[:, :2]), metres[:, 2]])
        fields = {"visibility": shares[:, 0], "presence": shares[:, 1], "world": metres}
        return Reading(float(score[0, 0]), points, fields)
