"""Search an image for people at all sizes, and merge what was found of one person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from filmgate.media.pixels.color import choose_matrix
from filmgate.media.pixels.format_names import has_alpha
from filmgate.media.pixels.planes import Planes
from filmgate.models.people.association import PersonDetection
from filmgate.models.people.matching import Floats, measure_shared

# A person as high as the image needs a window that is higher: the image gets a border.
_BORDER = 0.25  # of the rows
_WINDOW = 64, 128  # columns and rows that the classifier sees
_WIDEST = 4096  # columns of an image that is enlarged
_STRIDE, _STEP = 8, 1.05  # pixels between windows, and how much larger the next size is
_LOWEST = -0.4  # margin of the classifier
_SIDE, _TOP = 0.15, 0.09  # of a window that are around the person in it
_INSIDE = 0.5  # of a box that must be in the image
# The smaller the window, the more there are and the more are wrong: its margin is lowered so much
# for each time it fits twice into the image.
_PER_HALVING = 0.9
_OVERLAP, _CONTAINED = 0.4, 0.7  # of one person: shared area of both boxes, of the smaller one
_SAME = 0.5  # overlap of boxes whose mean is taken
_COVER = 0.2  # the score is lowered by exp(-c * c / this): c is how much a better box contains
_SLOPE, _MIDDLE, _LOWEST_SCORE = 3.0, -0.2, 0.2  # of the score, by the margin


@dataclass(frozen=True)
class HogDetector:
    """Finds people in images that are scaled to `rows` rows.

    The numbers above were chosen on one real clip of 1,394 frames, six people who come one by one
    into a room; what it finds there is in docs/track.md. Finer steps find as many.
    """

    rows: int

    def detect(self, images: Sequence[Planes]) -> list[list[PersonDetection]]:
        """See `PersonDetector`."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Planes) -> list[PersonDetection]:
        width, height = image.size
        scale = min(self.rows / height, max(1.0, _WIDEST / width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        border = round(_BORDER * self.rows)
        # OpenCV crashes if the image is smaller than its window
        right, bottom = (max(border, side - border - length)
                         for side, length in zip(_WINDOW, size, strict=True))  # fmt: skip
        small = cv2.copyMakeBorder(
            _shrink(image, size), border, bottom, border, right, cv2.BORDER_REPLICATE
        )
        windows, margins = _make_classifier().detectMultiScale(
            small, hitThreshold=_LOWEST, winStride=(_STRIDE, _STRIDE), padding=(0, 0),
            scale=_STEP, groupThreshold=0,
        )  # fmt: skip
        rows = np.column_stack([np.asarray(windows, np.float64).reshape(-1, 4), np.ravel(margins)])
        rows = rows[np.lexsort(rows.T)]  # OpenCV's threads give them in any order
        boxes, scales = rows[:, :4], np.tile([width / size[0], height / size[1]], 2)
        boxes = (boxes - (border, border, 0, 0)) * scales
        return _merge(*_fit(boxes, rows[:, 4], width, height))


def _make_classifier() -> Any:
    classifier = cv2.HOGDescriptor()
    classifier.setSVMDetector(np.asarray(cv2.HOGDescriptor.getDefaultPeopleDetector()))
    return classifier


def _shrink(image: Planes, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return the image in another size: RGB (H, W, 3) of 8 bits. Alpha is left out."""
    arrays = image.arrays[:-1] if has_alpha(image.pixels) else image.arrays
    planes = tuple(_resize(plane, size, image.bits) for plane in arrays)
    pixels, colour = "gray" if len(planes) == 1 else "gbrp", image.colour
    if image.pixels.startswith("yuv"):  # an unknown matrix depends on the size of the image
        pixels = "yuv444p"
        colour = replace(colour, matrix=choose_matrix(colour, *image.size))
    rgb = Planes(planes, pixels, colour).to_rgb()
    return np.asarray((rgb * 255 + 0.5).byte().permute(1, 2, 0).contiguous().numpy())


def _resize(plane: Any, size: tuple[int, int], bits: int) -> npt.NDArray[np.uint8]:
    smaller = size[0] < plane.shape[1] or size[1] < plane.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    resized: Any = cv2.resize(np.ascontiguousarray(plane), size, interpolation=how)
    return np.asarray(resized >> (bits - 8), np.uint8)


def _fit(boxes: Floats, margins: Floats, width: int, height: int) -> tuple[Floats, Floats]:
    """Return the boxes of the people in windows, inside of the image, and corrected margins."""
    boxes = boxes + boxes[:, [2, 3, 2, 3]] * (_SIDE, _TOP, -2 * _SIDE, -2 * _TOP)
    margins = margins + _PER_HALVING * np.log2(np.maximum(boxes[:, 3], 1) / height)
    low = np.clip(boxes[:, :2], 0, (width, height))
    high = np.clip(boxes[:, :2] + boxes[:, 2:], 0, (width, height))
    inside = (high - low).prod(1) >= _INSIDE * boxes[:, 2:].prod(1)
    kept = np.flatnonzero(inside)
    return np.column_stack([low, high - low])[kept], margins[kept]


def _merge(boxes: Floats, margins: Floats) -> list[PersonDetection]:
    """Return one detection for each group that is of the same person as its best box.

    Its box is the mean of those that are nearly the same, weighted by how sure each is. The score
    is lower if better boxes cover a part of it: half a person is found next to many.
    """
    shared, areas = measure_shared(boxes, boxes), boxes[:, 2:].prod(1)
    overlaps = shared / np.maximum(areas[:, None] + areas[None] - shared, 1e-9)
    contained = shared / np.maximum(np.minimum(areas[:, None], areas[None]), 1e-9)
    same = (overlaps > _OVERLAP) | (contained > _CONTAINED)
    weights, left, better = np.exp(2 * margins), np.ones(len(boxes), bool), list[int]()
    people = []
    for best in np.argsort(-margins, kind="stable"):
        if not left[best]:
            continue
        near = left & (overlaps[best] > _SAME)
        near[best] = True
        left &= ~(same[best] | near)
        x, y, width, height = (weights[near] @ boxes[near] / weights[near].sum()).tolist()
        cover = max((float(contained[best, other]) for other in better), default=0.0)
        better.append(int(best))
        score = exp(-(cover**2) / _COVER) / (1 + exp(-_SLOPE * (float(margins[best]) - _MIDDLE)))
        if score >= _LOWEST_SCORE:
            people.append(PersonDetection((x, y, width, height), score))
    return sorted(people, key=lambda person: -person.score)
