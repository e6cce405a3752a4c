"""The stage that follows people or faces from frame to frame and adds their points as records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.stage import Reach
from filmgate.errors import BadSetting, Unsupported
from filmgate.media.pixels.planes import Planes
from filmgate.models.people.detector import Detection
from filmgate.models.people.regions import Floats, Region
from filmgate.models.people.smoothing import FilterState, OneEuro, start_filter

_WANTED = ("people and faces are found in planes, and these are RGB tensors: put the stage before "
           "their conversion")  # fmt: skip
_LOST_BELOW = 0.5  # the score of someone who is followed
_SAME_PLACE = 0.2  # a detection this near to a track, in parts of the region, is of that track
_SAME_POINTS = 0.06  # mean distance of the points of two tracks of one person, likewise


@dataclass(frozen=True)
class Reading:
    """What a network sees in a region. Points and depths are in pixels of the image.

    `points` (N, 3): x, y and z, and among them those that only place the next region. `fields`
    are more values of the record, by name.
    """

    score: float
    points: Floats
    fields: dict[str, Any]


class PointModel(Protocol):
    """A detector and a network of points."""

    @property
    def kind(self) -> str:
        """The value of "kind" in records."""
        ...

    @property
    def count(self) -> int:
        """How many points a record has; the first of those that are read."""
        ...

    def detect(self, image: Planes, thorough: bool) -> list[Detection]:
        """Return what is in an image, best first; see `Detector.detect`."""
        ...

    def start_region(self, found: Detection) -> Region:
        """Return the region in which a detection's points are read."""
        ...

    def read(self, image: Planes, region: Region) -> Reading:
        """Return the points in a region."""
        ...

    def next_region(self, points: Floats) -> Region:
        """Return the region for the next frame, given the points (N, 3) in this one."""
        ...


@dataclass(frozen=True, slots=True)
class Track:
    """One person or face that is followed: its number, the next region, its filter's memory."""

    id: int
    region: Region
    filter: FilterState


@dataclass(frozen=True, slots=True)
class TrackerState:
    """Those that are followed, the next number, and the frame that was searched in parts last."""

    tracks: tuple[Track, ...] = ()
    next_id: int = 1
    searched: int | None = None


@dataclass(frozen=True)
class Tracker:
    """Adds a record for each person or face to the records of a frame; images stay.

    A region is read again where it was in the frame before. The image is searched if no one is
    followed or a track was lost, and every `every` frames, then in parts as well. A shot boundary
    ends all tracks. Someone is found from the score `threshold` on, and lost below 0.5. `most`:
    how many are followed at most.
    """

    model: PointModel
    most: int = 8
    every: int = 10
    threshold: float = 0.9
    smoothing: OneEuro | None = OneEuro()

    def __post_init__(self) -> None:
        if self.most < 1 or self.every < 1:
            raise BadSetting(f"most is {self.most} and every is {self.every}: pass 1 or more")
        if not 0 < self.threshold < 1:
            raise BadSetting(f"threshold is {self.threshold}: pass a number between 0 and 1")

    @property
    def name(self) -> str:
        return self.model.kind

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(past=None)

    def output(self, spec: StreamSpec) -> StreamSpec:
        from filmgate.media.pixels.rgb import convert_to_rgb

        if spec.pixels == "rgb":
            raise Unsupported(_WANTED)
        convert_to_rgb().output(spec)  # raises for alpha and HDR
        return spec

    def start(self, spec: StreamSpec, first: Position) -> TrackerState:
        return TrackerState()

    def step(
        self, state: TrackerState, frames: Sequence[Frame]
    ) -> tuple[TrackerState, list[Frame]]:
        outputs = []
        for frame in frames:
            state, frame = self._follow(state, frame)
            outputs.append(frame)
        return state, outputs

    def finish(self, state: TrackerState) -> tuple[None, list[Frame]]:
        return None, []

    def _follow(self, state: TrackerState, frame: Frame) -> tuple[TrackerState, Frame]:
        image = _get_planes(frame)
        if frame.extras.get("cut"):
            state = replace(state, tracks=(), searched=None)
        found, lowest = list[tuple[Track, Reading]](), min(_LOST_BELOW, self.threshold)
        for track in state.tracks:
            reading = self.model.read(image, track.region)
            if reading.score >= lowest and not self._is_followed(reading, found):
                found.append((self._move(track, reading, frame), reading))
        is_due = state.searched is None or frame.index - state.searched >= self.every
        if is_due or not found or len(found) < len(state.tracks):
            found = self._search(frame, found, state.next_id, thorough=is_due)
            last = max((track.id for track, _ in found), default=0)
            state = replace(state, next_id=max(state.next_id, last + 1))
        if is_due:
            state = replace(state, searched=frame.index)
        tracks = tuple(track for track, _ in found)
        return replace(state, tracks=tracks), self._add_records(frame, found)

    def _search(
        self, frame: Frame, found: list[tuple[Track, Reading]], next_id: int, *, thorough: bool
    ) -> list[tuple[Track, Reading]]:
        """Return those that are followed, and the new ones in the image."""
        found, image = list(found), _get_planes(frame)
        for detection in self.model.detect(image, thorough):
            region = self.model.start_region(detection)
            if len(found) == self.most:
                break
            if any(_is_near(region, track.region) for track, _ in found):
                continue
            reading = self.model.read(image, region)
            if reading.score >= self.threshold and not self._is_followed(reading, found):
                start = start_filter(reading.points, frame.time)
                track = Track(next_id, self.model.next_region(start.points), start)
                found.append((track, reading))
                next_id += 1
        return found

    def _move(self, track: Track, reading: Reading, frame: Frame) -> Track:
        """Return the track with the points of this frame."""
        if self.smoothing is None:
            moved = start_filter(reading.points, frame.time)
        else:
            moved = self.smoothing.filter(
                track.filter, reading.points, frame.time, track.region.side
            )
        return Track(track.id, self.model.next_region(moved.points), moved)

    def _is_followed(self, reading: Reading, found: list[tuple[Track, Reading]]) -> bool:
        """Return whether a track has these points already."""
        return any(
            np.linalg.norm((reading.points - other.points)[:, :2], axis=1).mean()
            < _SAME_POINTS * track.region.side
            for track, other in found
        )

    def _add_records(self, frame: Frame, found: list[tuple[Track, Reading]]) -> Frame:
        """Return the frame with a record for each that was found."""
        records: Any = frame.extras.get("records", ())
        added = [self._make_record(track, reading) for track, reading in found]
        return frame.with_extras(records=(*records, *added))

    def _make_record(self, track: Track, reading: Reading) -> dict[str, Any]:
        points = track.filter.points[: self.model.count]
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        return {
            "kind": self.model.kind,
            "id": track.id,
            "score": round(reading.score, 4),
            "box": to_tuples(np.concatenate([low, high - low])),
            "points": to_tuples(points),
            **{name: to_tuples(np.asarray(value)) for name, value in reading.fields.items()},
        }


class SearchingTracker(Tracker):
    """A Tracker that searches each frame: a face is where it was found, not where it was before.

    For networks of points that have no score of their own, and need the box of a detection.
    """

    __slots__ = ()

    def _follow(self, state: TrackerState, frame: Frame) -> tuple[TrackerState, Frame]:
        image, left = _get_planes(frame), list(state.tracks)
        if frame.extras.get("cut"):
            left = []
        found, next_id = list[tuple[Track, Reading]](), state.next_id
        for detection in self.model.detect(image, thorough=False)[: self.most]:
            region = self.model.start_region(detection)
            reading = replace(self.model.read(image, region), score=detection.score)
            near = [track for track in left if _is_near(region, track.region)]
            if near:
                track = min(near, key=lambda track: _measure_distance(region, track.region))
                left.remove(track)
                moved = self._move(replace(track, region=region), reading, frame)
                track = replace(moved, region=region)
            else:
                track = Track(next_id, region, start_filter(reading.points, frame.time))
                next_id += 1
            found.append((track, reading))
        after = TrackerState(tuple(track for track, _ in found), next_id)
        return after, self._add_records(frame, found)


def _get_planes(frame: Frame) -> Planes:
    if not isinstance(frame.image, Planes):
        raise Unsupported(_WANTED)
    return frame.image


def to_tuples(values: npt.NDArray[Any]) -> Any:
    """Return an array as nested tuples of numbers, or as a number, with three decimals."""
    if not values.ndim:
        return round(float(values), 3)
    if values.ndim > 1:
        return tuple(map(to_tuples, values))
    return tuple(round(float(value), 3) for value in values)


def _is_near(a: Region, b: Region) -> bool:
    return _measure_distance(a, b) < _SAME_PLACE * max(a.side, b.side)


def _measure_distance(a: Region, b: Region) -> float:
    return float(np.hypot(a.x - b.x, a.y - b.y))
