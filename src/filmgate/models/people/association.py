"""What detectors and trackers of people have in common: images in, numbers of tracks out.

A tracker decides who is who. What it remembers is a plain value that the stage around it keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol, TypeVar

from filmgate.media.pixels.planes import Planes

Box = tuple[float, float, float, float]
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class PersonDetection:
    """A person in one image. All values are plain.

    `box`: left, top, width and height in pixels; (0, 0) is the corner of the image. `score`: 0 to
    1. `fields`: what its record has besides, such as keypoints. `features`: what only trackers
    use, such as appearance; it is not written.
    """

    box: Box
    score: float
    fields: Mapping[str, Any] = field(default_factory=dict)
    features: Mapping[str, Any] = field(default_factory=dict)


class PersonDetector(Protocol):
    """Finds people in images, each by itself. It holds settings and weights and never changes."""

    def detect(self, images: Sequence[Planes]) -> list[list[PersonDetection]]:
        """Return the people in each image, best first.

        What is found in an image depends on no other image, but for low bits. Raises Unsupported
        for planes that it cannot take.
        """
        ...


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """The frame of the detections: index, time in seconds, width and height in pixels.

    `cut`: it is the first of a new shot.
    """

    index: int
    time: Fraction
    width: int
    height: int
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Unseen:
    """Where a tracker supposes a person of a confirmed track whom no detection shows."""

    id: int
    detection: PersonDetection


@dataclass(frozen=True, slots=True)
class Assignments:
    """Who the detections of one frame are.

    `ids`: the track of each detection. Numbers of people are positive and count from 1, those of
    tracks that are not confirmed are provisional and negative, and 0 is no one. `confirmed`: for
    each track that this frame confirms, its provisional number and its final one; earlier frames
    are filled in with it. A number of either kind is never used twice.
    """

    ids: tuple[int, ...]
    confirmed: tuple[tuple[int, int], ...] = ()
    unseen: tuple[Unseen, ...] = ()


class PersonTracker(Protocol[S]):
    """Follows people from frame to frame. It holds settings and weights and never changes."""

    @property
    def delay(self) -> int:
        """How many frames after a detection its track is confirmed at the latest, or never."""
        ...

    def start(self) -> S:
        """Return the state before the first frame: a plain, bounded value."""
        ...

    def update(
        self, state: S, frame: FrameInfo, detections: Sequence[PersonDetection]
    ) -> tuple[S, Assignments]:
        """Return the state after a frame, and who its detections are; `state` is not modified."""
        ...
