"""Figures that walk over a background, and where each of them truly is.

A figure is a filled body of one grey and a head; who is in front hides the others. So videos of
several people who cross, leave and come back are made with their truth.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.media.pixels.av_frames import make_av_frame
from filmgate.media.pixels.planes import Planes
from filmgate.models.people.association import Box, PersonDetection
from filmgate.testing import SampleVideo

WIDE, HIGH = 160, 90
COLOUR = ColorTags(matrix="bt709", range="tv")
Path2D = Callable[[int], tuple[float, float] | None]  # centre in a frame, None: not there


@dataclass(frozen=True)
class Figure:
    """Someone of a size (width, height), who is at `path(n)` in frame n."""

    path: Path2D
    size: tuple[float, float] = (14, 36)

    def find_box(self, n: int) -> Box | None:
        """Return the true box in frame n, None if nothing of it is in the image."""
        place = self.path(n)
        if place is None:
            return None
        width, height = self.size
        left, top = place[0] - width / 2, place[1] - height / 2
        right, bottom = min(left + width, WIDE), min(top + height, HIGH)
        left, top = max(left, 0.0), max(top, 0.0)
        return (left, top, right - left, bottom - top) if right > left and bottom > top else None


def walk(x: float, y: float, speed: float, first: int = 0, last: int = 10**6) -> Path2D:
    """Return a path from (x, y) in frame `first` at so many pixels per frame, until `last`."""
    return lambda n: (x + speed * (n - first), y) if first <= n < last else None


def list_truth(figures: Sequence[Figure], n: int) -> dict[int, Box]:
    """Return the box of each figure that is in frame n, by its place in the list."""
    boxes = {k: figure.find_box(n) for k, figure in enumerate(figures)}
    return {k: box for k, box in boxes.items() if box is not None}


def make_frames(
    figures: Sequence[Figure], count: int, cuts: Sequence[int] = (), rate: int = 25
) -> SampleVideo:
    """Return a video of the figures; those that come later in the list are in front."""
    spec = StreamSpec(width=WIDE, height=HIGH, rate=F(rate), time_base=F(1, rate),
                      pixels="yuv420p", colour=COLOUR)  # fmt: skip
    frames = [
        Frame(n, F(n, rate), F(1, rate), draw(figures, n), {"cut": True} if n in cuts else {})
        for n in range(count)
    ]
    return SampleVideo(spec, tuple(frames))


def draw(figures: Sequence[Figure], n: int) -> Planes:
    """Return frame n as planes."""
    luma = np.full((HIGH, WIDE), 40, np.uint8)
    for k, (left, top, width, height) in list_truth(figures, n).items():
        corner, end = (round(left), round(top)), (round(left + width) - 1, round(top + height) - 1)
        cv2.rectangle(luma, corner, end, 100 + 25 * k, -1)
    chroma = np.full((HIGH // 2, WIDE // 2), 128, np.uint8)
    return Planes((luma, chroma, chroma), "yuv420p", COLOUR)


def write_video(figures: Sequence[Figure], count: int, path: Path) -> Path:
    """Write `count` frames of the figures at 25 fps, lossless."""
    with av.open(path, "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDE, HIGH, "yuv420p"
        for n in range(count):
            frame = make_av_frame(draw(figures, n))
            frame.pts, frame.time_base = n, F(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def write_sidecar(figures: Sequence[Figure], count: int, path: Path) -> Path:
    """Write the true boxes as JSON Lines, without numbers of people."""
    with open(path, "w", encoding="utf-8") as file:
        for n in range(count):
            for box in list_truth(figures, n).values():
                file.write(json.dumps({"frame": n, "box": box, "score": 0.9}) + "\n")
    return path


@dataclass(frozen=True)
class TrueDetector:
    """Finds figures by their grey, each with the box of what is visible of it."""

    figures: int

    def detect(self, images: Sequence[Planes]) -> list[list[PersonDetection]]:
        return [self._detect(image.arrays[0]) for image in images]

    def _detect(self, luma: Any) -> list[PersonDetection]:
        people = []
        for k in range(self.figures):
            y, x = np.nonzero(luma == 100 + 25 * k)
            if len(x):
                box = tuple(map(float, (x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1)))
                people.append(PersonDetection(box, 0.9, {"grey": 100 + 25 * k}))  # type: ignore[arg-type]
        return people


def name_people(
    records: Sequence[Sequence[Mapping[str, Any]]], figures: Sequence[Figure]
) -> dict[int, list[int]]:
    """Return the numbers that each figure had, in order: one for a figure that is never confused.

    A record is of the figure whose true box it overlaps most.
    """
    from filmgate.models.people.matching import measure_overlaps

    numbers: dict[int, list[int]] = {}
    for n, people in enumerate(records):
        truth = list_truth(figures, n)
        if not people or not truth:
            continue
        overlaps = measure_overlaps(list(truth.values()), [tuple(r["box"]) for r in people])
        for row, k in enumerate(truth):
            best = int(overlaps[row].argmax())
            if overlaps[row, best] >= 0.5 and overlaps[:, best].argmax() == row:
                number = people[best]["id"]
                if numbers.setdefault(k, [number])[-1] != number:
                    numbers[k].append(number)
    return numbers
