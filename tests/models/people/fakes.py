"""People made of three discs, and networks that find them by their colours.

Red is the middle of the hips, green the top of the circle around the body, blue a hand. So all
steps from an image to its records are tried without weights: anchors, decoding, regions,
crops, tracks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction as F
from typing import Any

import cv2
import numpy as np
import torch

from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.media.pixels.planes import Planes
from filmgate.media.pixels.rgb import to_planes
from filmgate.models.families.blazepose.model import STRIDES, PoseModel
from filmgate.models.people.detector import Detector, place_anchors
from filmgate.models.people.smoothing import OneEuro
from filmgate.models.people.tracker import Tracker
from filmgate.testing import SampleVideo

WIDE, HIGH = 192, 144
COLOUR = ColorTags(matrix="bt709", range="tv")
RED, GREEN, BLUE = 0, 1, 2
ANCHORS = place_anchors(224, STRIDES)


@dataclass(frozen=True)
class Person:
    """Hips, top of the circle and hand, (x, y) in pixels."""

    hips: tuple[float, float]
    top: tuple[float, float]
    hand: tuple[float, float]

    @property
    def places(self) -> Any:
        return np.array([self.hips, self.top, self.hand])

    def move(self, x: float, y: float) -> "Person":
        (a, b), (c, d), (e, f) = self.hips, self.top, self.hand
        return Person((a + x, b + y), (c + x, d + y), (e + x, f + y))


STANDING = Person((60, 80), (60, 44), (76, 66))
FALLEN = Person((140, 70), (172, 86), (150, 94))


def draw(people: Sequence[Person], size: tuple[int, int] = (WIDE, HIGH), zoom: float = 1) -> Any:
    """Return an RGB image (3, H, W) of discs, smooth at their edges."""
    y, x = np.arange(size[1])[:, None] + 0.5, np.arange(size[0]) + 0.5
    image = np.full((3, size[1], size[0]), 0.1)
    for person in people:
        for colour, place in enumerate(person.places * zoom):
            radius = 4.5 * zoom
            left, top = (max(0, int(at - radius)) for at in place)
            near = np.s_[top : int(place[1] + radius) + 2, left : int(place[0] + radius) + 2]
            distance = np.hypot(x[near[1]] - place[0], y[near[0]] - place[1])
            disc = np.clip(radius - distance, 0, 1)
            wanted = np.eye(3)[colour][:, None, None]
            image[:, *near] = image[:, *near] * (1 - disc) + wanted * disc
    return torch.from_numpy(image).float()


def make_planes(people: Sequence[Person], pixels: str = "yuv420p", zoom: float = 1) -> Planes:
    size = (round(WIDE * zoom), round(HIGH * zoom))
    return to_planes(draw(people, size, zoom), pixels, COLOUR)


def find_discs(image: Any, colour: int) -> Any:
    """Return the centres (N, 2) of the discs of a colour, in pixels."""
    least, most = [-2.0] * 3, [0.4] * 3
    least[colour], most[colour] = 0.4, 2.0
    mask = cv2.inRange(image, np.array(least), np.array(most))
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return np.empty((0, 2))
    count, _, _, centres = cv2.connectedComponentsWithStats(
        mask[top : top + height, left : left + width]
    )
    return centres[1:count] + np.array([left + 0.5, top + 0.5])


def find_nearest(places: Any, wanted: Any) -> Any:
    return places[np.argmin(np.linalg.norm(places - wanted, axis=1))]


@dataclass(frozen=True)
class FakeDetector:
    """Finds red discs with a green one. Each is found twice, as real networks do."""

    side: int = 224

    def __call__(self, image: Any) -> tuple[Any, ...]:
        assert image.shape == (self.side, self.side, 3)
        assert -1 <= image.min() < -0.5, "in [-1, 1]"
        anchors = ANCHORS
        boxes = np.zeros((1, len(anchors), 12), np.float32)
        logits = np.full((1, len(anchors), 1), -100, np.float32)
        tops = find_discs((image + 1) / 2, GREEN)
        for hips in find_discs((image + 1) / 2, RED) if len(tops) else ():
            top = find_nearest(tops, hips)
            size = np.linalg.norm(top - hips)
            order = np.argsort(np.linalg.norm(anchors * self.side - hips, axis=1), kind="stable")
            for n, index in enumerate((order[0], order[-1])):
                values = np.array([hips, (size, size), hips, top, hips, hips])
                values[[0, 2, 3, 4, 5]] -= anchors[index] * self.side
                boxes[0, index] = values.ravel()
                logits[0, index] = 3 - n
        return boxes, logits


@dataclass(frozen=True)
class FakePoints:
    """Reads the person whose red disc is nearest to the middle; the points follow the discs."""

    side: int = 256

    def __call__(self, image: Any) -> tuple[Any, ...]:
        assert image.shape == (self.side, self.side, 3)
        assert image.min() >= 0, "in [0, 1]"
        table, score = np.zeros((39, 5), np.float32), 0.0
        found = [find_discs(image, colour) for colour in (RED, GREEN, BLUE)]
        middle = self.side / 2
        if all(map(len, found)):
            hips = find_nearest(found[RED], middle)
            top = find_nearest(found[GREEN], (middle, middle - middle / 1.25))
            hand = find_nearest(found[BLUE], hips)
            score = float(np.linalg.norm(hips - middle) < middle / 2)
            table[:, :2] = hips
            table[0, :2], table[34, :2] = hand, top
            table[:, 2:] = (25.6, 3, -3)
        world = np.zeros((39, 3), np.float32)
        world[0] = (0, -1, 0.5)  # a metre up, in the region
        empty = np.zeros(1, np.float32)
        return table.reshape(1, -1), np.array([[score]]), empty, empty, world.reshape(1, -1)


def make_tracker(**settings: Any) -> Tracker:
    settings = {"smoothing": OneEuro(), "every": 5, **settings}
    return Tracker(PoseModel(Detector(FakeDetector(), STRIDES), FakePoints()), **settings)


def make_video(people: Sequence[Sequence[Person]], cuts: Sequence[int] = ()) -> SampleVideo:
    """Return one frame for each list of people, at 25 fps; shots begin at `cuts`."""
    spec = StreamSpec(width=WIDE, height=HIGH, rate=F(25), time_base=F(1, 25), pixels="yuv420p",
                      colour=COLOUR)  # fmt: skip
    frames = [
        Frame(n, F(n, 25), F(1, 25), make_planes(each), {"cut": True} if n in cuts else {})
        for n, each in enumerate(people)
    ]
    return SampleVideo(spec, tuple(frames))


def track(tracker: Tracker, video: SampleVideo) -> list[list[dict[str, Any]]]:
    """Return the records of each frame."""
    state = tracker.start(video.spec, video.frames[0].position)
    _, outputs = tracker.step(state, video.frames)
    return [list(frame.extras["records"]) for frame in outputs]  # type: ignore[call-overload]


def get_points(record: dict[str, Any]) -> Any:
    return np.array(record["points"])


def without_smoothing(tracker: Tracker) -> Tracker:
    return replace(tracker, smoothing=None)
