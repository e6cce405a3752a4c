"""Single-shot detection: anchors, decoding, and the weighted mean of overlapping detections."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from filmgate.media.pixels.planes import Planes
from filmgate.models.people.networks import Network
from filmgate.models.people.regions import Floats, Region, crop, find_overlap

_OVERLAP = 0.3  # detections that overlap more are of one person


@dataclass(frozen=True)
class Detection:
    """What was found: score 0 to 1, box (left, top, right, bottom) and points (N, 2) in pixels."""

    score: float
    box: tuple[float, float, float, float]
    points: Floats


@dataclass(frozen=True)
class Detector:
    """Finds people or faces in a complete image.

    `network`: from an image in [-1, 1] to boxes (1, A, 4 + 2 N), centre, size and N points in
    pixels from each of the A anchors, and logits (1, A, 1). `strides`: pixels between anchors, one
    entry for each anchor at a place. `threshold`: the lowest score.
    """

    network: Network
    strides: tuple[int, ...]
    threshold: float = 0.5

    @cached_property
    def anchors(self) -> Floats:
        """The anchors' places (A, 2), 0 to 1."""
        return place_anchors(self.network.side, self.strides)

    def detect(self, image: Planes, thorough: bool = False) -> list[Detection]:
        """Return what is in an image, best first, one detection for each person or face.

        `thorough`: a wide or high image is searched in overlapping squares as well, in which
        people are larger.
        """
        width, height = image.size
        regions = [Region(width / 2, height / 2, max(width, height))]
        if thorough:
            regions += list_squares(width, height)
        found = [one for region in regions for one in self._detect(image, region)]
        return merge_detections(found)

    def _detect(self, image: Planes, region: Region) -> list[Detection]:
        pixels = crop(image, region, self.network.side)
        boxes, logits = self.network(pixels * 2 - 1)
        found = decode(boxes[0], logits[0, :, 0], self.anchors, self.network.side, self.threshold)
        return [_to_image(detection, region) for detection in merge_detections(found)]


def list_squares(width: int, height: int) -> list[Region]:
    """Return the squares, each half over the next or more, that cover an image; none for one
    that is nearly square."""
    long, short = max(width, height), min(width, height)
    if long < 1.25 * short:
        return []
    count = -(-2 * (long - short) // short) + 1
    places = np.linspace(short / 2, long - short / 2, count).tolist()
    if width > height:
        return [Region(place, height / 2, short) for place in places]
    return [Region(width / 2, place, short) for place in places]


def place_anchors(side: int, strides: tuple[int, ...]) -> Floats:
    """Return the centres (A, 2), 0 to 1, of anchors on grids of these strides, row by row.

    Consecutive grids of one stride are one grid with several anchors at each place.
    """
    grids = []
    for stride in sorted(set(strides)):
        count = -(-side // stride)
        y, x = np.mgrid[:count, :count].reshape(2, -1)
        places = (np.column_stack([x, y]) + 0.5) / count
        grids.append(np.repeat(places, strides.count(stride), axis=0))
    return np.concatenate(grids)


def decode(
    boxes: npt.NDArray[Any], logits: npt.NDArray[Any], anchors: Floats, side: int, threshold: float
) -> list[Detection]:
    """Return the detections of at least this score, in coordinates 0 to 1."""
    scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -100, 100)))
    kept = np.flatnonzero(scores >= threshold)
    values = boxes[kept].astype(np.float64).reshape(-1, boxes.shape[1] // 2, 2) / side
    places, sizes = anchors[kept], values[:, 1] / 2
    centres, points = values[:, 0] + places, values[:, 2:] + places[:, None]
    corners = np.concatenate([centres - sizes, centres + sizes], axis=1)
    return [
        Detection(float(scores[index]), _to_box(corner), point)
        for index, corner, point in zip(kept, corners, points, strict=True)
    ]


def merge_detections(found: list[Detection]) -> list[Detection]:
    """Return one detection for each group that overlaps its best one: their weighted mean.

    The scores are the weights (BlazeFace, section 3.3). The best one's score is kept.
    """
    left = sorted(found, key=lambda detection: -detection.score)
    merged = []
    while left:
        best = left[0]
        overlaps = [find_overlap(best.box, other.box) > _OVERLAP for other in left]
        overlaps[0] = True  # also a box without area
        group = [other for other, same in zip(left, overlaps, strict=True) if same]
        left = [other for other, same in zip(left, overlaps, strict=True) if not same]
        weights = np.array([other.score for other in group])
        weights /= weights.sum()
        box = weights @ np.array([other.box for other in group])
        points = np.tensordot(weights, np.array([other.points for other in group]), 1)
        merged.append(Detection(best.score, _to_box(box), points))
    return merged


def _to_image(found: Detection, region: Region) -> Detection:
    corners = region.to_image(np.array(found.box).reshape(2, 2))
    return Detection(found.score, _to_box(corners.ravel()), region.to_image(found.points))


def _to_box(values: Floats) -> tuple[float, float, float, float]:
    left, top, right, bottom = map(float, values)
    return left, top, right, bottom
