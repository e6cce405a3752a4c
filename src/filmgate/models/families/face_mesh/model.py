"""BlazeFace and the face mesh: where faces are, and 468 points on the surface of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
# The outer and the inner edge of the lips.
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)  # fmt: skip
_OTHERS = (0.75, 1.35, 1.5)  # times the side of a region: others in which its face is read


@dataclass(frozen=True)
class FaceModel:
    """The detector, and the network of points in a region of 192x192 pixels.

    Points of a record: x and y in pixels, z in pixels, smaller is nearer. With `lip_spread` it has
    how far apart the lips of several readings are, see `measure_spread`.
    """

    detector: Detector
    network: Network
    lip_spread: bool = False
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
        reading = self._read(image, region)
        if not self.lip_spread:
            return reading
        others = (self._read(image, region.scale(times)) for times in _OTHERS)
        points = [reading.points, *(other.points for other in others)]
        return replace(reading, fields={"lip_spread": np.array(measure_spread(points))})

    def _read(self, image: Planes, region: Region) -> Reading:
        side = self.network.side
        values, logit = self.network(crop(image, region, side))
        table = values.astype(np.float64).reshape(-1, 3) / side
        points = np.column_stack([region.to_image(table[:, :2]), table[:, 2] * region.side])
        return Reading(float(1 / (1 + np.exp(-float(logit.item())))), points, {})


def measure_spread(readings: Sequence[Floats]) -> float:
    """Return how far apart the lips of several readings of a face are, each (468, 3).

    It is the mean deviation of their points, in parts of the distance between the outer corners of
    the eyes. Lips that are seen are found in the same place; hidden ones are guessed.
    """
    lips = np.stack([points[list(LIPS), :2] for points in readings])
    across = np.linalg.norm(readings[0][_LEFT_EYE, :2] - readings[0][_RIGHT_EYE, :2])
    spread = np.linalg.norm(lips.std(0), axis=1).mean()
    return float(spread / max(across, 1e-6))
