"""BlazePose as a detector: people in single images, with the 33 points of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from filmgate.media.pixels.planes import Planes
from filmgate.models.families.blazepose.model import PoseModel
from filmgate.models.people.association import Box, PersonDetection
from filmgate.models.people.regions import Floats
from filmgate.models.people.tracker import Reading

_SAME_POINTS = 0.06  # mean distance of the points of one person found twice, in sides of the region
# The points are inside of the body, and none is on top of the head.
_SIDES, _ABOVE, _BELOW = 0.08, 0.1, 0.02  # in heights of the box of the points


@dataclass(frozen=True)
class PoseDetector:
    """Finds people by BlazePose's detector and its points: at most `most`, above `threshold`."""

    model: PoseModel
    most: int
    threshold: float

    def detect(self, images: Sequence[Planes]) -> list[list[PersonDetection]]:
        """See `PersonDetector`."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Planes) -> list[PersonDetection]:
        found = list[tuple[float, Reading]]()
        for detection in self.model.detect(image, thorough=True):
            region = self.model.start_region(detection)
            reading = self.model.read(image, region)
            if reading.score < self.threshold or len(found) == self.most:
                continue
            if not any(_is_same(reading, other, side) for side, other in found):
                found.append((region.side, reading))
        people = [self._make_detection(reading, image.size) for _, reading in found]
        return sorted(people, key=lambda person: -person.score)

    def _make_detection(self, reading: Reading, size: tuple[int, int]) -> PersonDetection:
        points = reading.points[: self.model.count]
        fields = {"skeleton": "blazepose", "points": points.round(3)}
        fields |= {name: np.asarray(value).round(3) for name, value in reading.fields.items()}
        return PersonDetection(find_box(points, size), min(reading.score, 1.0), fields)


def find_box(points: Floats, size: tuple[int, int]) -> Box:
    """Return the box around a body with these points (33, 3), inside an image of (W, H)."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    height = high[1] - low[1]
    above, below = np.array([[_SIDES, _ABOVE], [_SIDES, _BELOW]]) * height
    low = np.clip(low - above, 0, np.array(size) - 1)
    high = np.clip(high + below, low + 1, size)
    (left, top), (width, height) = low.tolist(), (high - low).tolist()
    return left, top, width, height


def _is_same(one: Reading, other: Reading, side: float) -> bool:
    distances = np.linalg.norm((one.points - other.points)[:, :2], axis=1)
    return bool(distances.mean() < _SAME_POINTS * side)
