"""BlazeFace and the face mesh: where faces are, and 468 points on the surface of each."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np

from filmgate.media.pixels.planes import Planes
from filmgate.models.people.detector import Detection, Detector
from filmgate.models.people.networks import Network, Shapes
from filmgate.models.people.regions import (
    Floats,
    Region,
    crop,
    find_angle,
    find_enclosing,
)
from filmgate.models.people.tracker import Reading

Range = Literal["short", "full"]

# Shapes of the input and the outputs of the published networks, and the strides of the anchors.
DETECTOR_SHAPES: MappingProxyType[Range, Shapes] = MappingProxyType(
    {"short": ((1, 128, 128, 3), (1, 896, 16), (1, 896, 1)),
     "full": ((1, 192, 192, 3), (1, 2304, 16), (1, 2304, 1))}
)  # fmt: skip
STRIDES: MappingProxyType[Range, tuple[int, ...]] = MappingProxyType(
    {"short": (8, 8, 16, 16, 16, 16, 16, 16), "full": (4,)}
)
MESH_SHAPES = ((1, 192, 192, 3), (1, 1, 1, 1404), (1, 1, 1, 1))
# Outer corners of the eyes; right and left are those of the person.
_RIGHT_EYE, _LEFT_EYE = 33, 263
_MARGIN = 1.5  # of the region around a detection or the points


@dataclass(frozen=True)
class FaceModel:
    """The detector, and the network of points in a region of 192x192 pixels.

    Points of a record: x and y in pixels, z in pixels, smaller is nearer.
    """

    detector: Detector
    network: Network
    kind: ClassVar[str] = "face"
    count: ClassVar[int] = 468

    def detect(self, image: Planes, thorough: bool) -> list[Detection]:
        """See `PointModel`."""
        return self.detector.detect(image, thorough)

    def start_region(self, found: Detection) -> Region:
        """Return the region around the box, turned so that the eyes are level."""
        left, top, right, bottom = found.box
        side = max(right - left, bottom - top)
        angle = find_angle(found.points[0], found.points[1], 0.0)
        return Region((left + right) / 2, (top + bottom) / 2, side, angle).scale(_MARGIN)

    def next_region(self, points: Floats) -> Region:
        """Return the region around the points, turned so that the eyes are level."""
        flat = points[:, :2]
        angle = find_angle(flat[_RIGHT_EYE], flat[_LEFT_EYE], 0.0)
        return find_enclosing(flat, angle).scale(_MARGIN)

    def read(self, image: Planes, region: Region) -> Reading:
        """See `PointModel`."""
        side = self.network.side
        values, logit = self.network(crop(image, region, side))
        table = values.astype(np.float64).reshape(-1, 3) / side
        points = np.column_stack([region.to_image(table[:, :2]), table[:, 2] * region.side])
        return Reading(float(1 / (1 + np.exp(-float(logit.item())))), points, {})
