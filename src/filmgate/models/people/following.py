"""Stages that follow people: detections on frames become numbered records.

A record is final once its track is confirmed and short gaps are filled, a few frames later; only
the frames until then are held.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.stage import Reach, frames_to_seconds
from filmgate.errors import BadOutput, StageContractError, Unsupported
from filmgate.media.pixels.planes import Planes
from filmgate.media.records.box_reader import BoxTable
from filmgate.models.people.association import (
    Assignments,
    Box,
    FrameInfo,
    PersonDetection,
    PersonDetector,
    PersonTracker,
    Unseen,
)

DETECTIONS, ASSIGNMENTS = "people.detections", "people.assignments"  # extras between the stages
VERSION = 1  # of the records
# what a record says of a detector's points
_OF_POINTS = ("skeleton", "points", "point_scores", "visibility", "presence", "world")
Poses = Callable[[Planes, Sequence[Box]], Sequence[Mapping[str, Any]]]
Looks = Callable[[Planes, Sequence[PersonDetection]], Sequence[PersonDetection]]


def require_planes(spec: StreamSpec) -> StreamSpec:
    """Return the stream. Raises Unsupported if it is one of RGB tensors."""
    if spec.pixels == "rgb":
        raise Unsupported("people are found in planes, and these are RGB tensors: put the stage "
                          "before their conversion")  # fmt: skip
    return spec


def detect(detector: PersonDetector, frames: Sequence[Frame]) -> list[Frame]:
    """Return the frames with their detections."""
    found = detector.detect([get_planes(frame) for frame in frames])
    if len(found) != len(frames):
        raise StageContractError(f"{type(detector).__name__} returned {len(found)} lists for "
                                 f"{len(frames)} images: return one for each")  # fmt: skip
    return [
        frame.with_extras(**{DETECTIONS: tuple(people)})
        for frame, people in zip(frames, found, strict=True)
    ]


def add_boxes(table: BoxTable, frames: Sequence[Frame]) -> list[Frame]:
    """Return the frames with the boxes of a file as their detections."""
    return [
        frame.with_extras(**{DETECTIONS: tuple(
            PersonDetection(tuple(table.boxes[row].tolist()), float(table.scores[row]))
            for row in table.find_rows(frame.index)
        )})
        for frame in frames
    ]  # fmt: skip


def add_poses(estimate: Poses, frames: Sequence[Frame]) -> list[Frame]:
    """Return the frames whose detections have the fields of a pose as well.

    `estimate` gets boxes as left, top, right and bottom. If it says a skeleton, that takes the
    place of the detector's points. Raises BadOutput if a pose is not finite.
    """
    posed = []
    for frame in frames:
        found = get_detections(frame)
        corners = [(x, y, x + width, y + height) for x, y, width, height in (d.box for d in found)]
        try:
            poses = estimate(get_planes(frame), corners) if found else ()
        except FloatingPointError as error:
            raise BadOutput(f"poses at {float(frame.time):.3f} s: {error}; try another dtype",
                            "not finite", frame.time) from error  # fmt: skip
        people = tuple(
            replace(one, fields={**_drop_points(one.fields, pose), **pose})
            for one, pose in zip(found, poses, strict=True)
        )
        posed.append(frame.with_extras(**{DETECTIONS: people}))
    return posed


def _drop_points(fields: Mapping[str, Any], pose: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a detector without its points if the pose has points."""
    return {name: value for name, value in fields.items()
            if "skeleton" not in pose or name not in _OF_POINTS}  # fmt: skip


def add_looks(read: Looks, frames: Sequence[Frame]) -> list[Frame]:
    """Return the frames whose detections have how they look among their features."""
    return [
        frame.with_extras(**{DETECTIONS: tuple(read(get_planes(frame), get_detections(frame)))})
        for frame in frames
    ]


@dataclass(frozen=True)
class Associate:
    """The stage that decides which detections are of the same person. Its state is the tracker's.

    Frames come with detections and leave with assignments as well, and without features.
    """

    tracker: PersonTracker[Any]
    name: str = "associate"

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(past=None)

    def output(self, spec: StreamSpec) -> StreamSpec:
        return require_planes(spec)

    def start(self, spec: StreamSpec, first: Position) -> Any:
        return self.tracker.start()

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        outputs = []
        for frame in frames:
            width, height = get_planes(frame).size
            cut = bool(frame.extras.get("cut"))
            info = FrameInfo(frame.index, frame.time, width, height, cut)
            found = get_detections(frame)
            state, who = self.tracker.update(state, info, found)
            plain = tuple(replace(one, features={}) if one.features else one for one in found)
            outputs.append(frame.with_extras(**{DETECTIONS: plain, ASSIGNMENTS: who}))
        return state, outputs

    def finish(self, state: Any) -> tuple[None, list[Frame]]:
        return None, []


@dataclass(frozen=True)
class Finish:
    """The stage that makes records of detections and who they are, `delay` frames later.

    Until then earlier frames of a track that is confirmed get its number, and gaps in a track get
    boxes between those around them. The state is the frames that wait. Images stay.
    """

    delay: int
    name: str = "finish"

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(frames_to_seconds(self.delay, spec), frames_to_seconds(self.delay, spec))

    def output(self, spec: StreamSpec) -> StreamSpec:
        return spec

    def start(self, spec: StreamSpec, first: Position) -> tuple[Frame, ...]:
        return ()

    def step(
        self, state: tuple[Frame, ...], frames: Sequence[Frame]
    ) -> tuple[tuple[Frame, ...], list[Frame]]:
        waiting, outputs = state, list[Frame]()
        for frame in frames:
            waiting = _fill_gaps((*_confirm(waiting, frame), frame))
            ready = max(0, len(waiting) - self.delay)
            outputs += map(_add_records, waiting[:ready])
            waiting = waiting[ready:]
        return waiting, outputs

    def finish(self, state: tuple[Frame, ...]) -> tuple[None, list[Frame]]:
        return None, [_add_records(frame) for frame in state]


def get_planes(frame: Frame) -> Planes:
    """Return the frame's image. Raises Unsupported unless it is planes."""
    if not isinstance(frame.image, Planes):
        found = type(frame.image).__name__
        raise Unsupported(f"people are found in planes, and the image is {found}: put the stage "
                          "before its conversion")  # fmt: skip
    return frame.image


def get_detections(frame: Frame) -> tuple[PersonDetection, ...]:
    """Return the people that a detector found in the frame."""
    found: Any = frame.extras.get(DETECTIONS, ())
    return tuple(found)


def _get_assignments(frame: Frame) -> Assignments:
    who = frame.extras[ASSIGNMENTS]
    assert isinstance(who, Assignments)
    return who


def _confirm(waiting: tuple[Frame, ...], frame: Frame) -> tuple[Frame, ...]:
    """Return the frames that wait, with the numbers of tracks that `frame` confirms."""
    numbers = dict(_get_assignments(frame).confirmed)
    if not numbers:
        return waiting
    changed = []
    for earlier in waiting:
        who = _get_assignments(earlier)
        ids = tuple(numbers.get(one, one) for one in who.ids)
        changed.append(earlier.with_extras(**{ASSIGNMENTS: replace(who, ids=ids)}))
    return tuple(changed)


def _find_people(frame: Frame) -> dict[int, PersonDetection]:
    """Return the people of confirmed tracks in a frame, those who are not seen included."""
    who = _get_assignments(frame)
    people = {one.id: one.detection for one in who.unseen}
    pairs = zip(who.ids, get_detections(frame), strict=True)
    return people | {id: detection for id, detection in pairs if id > 0}


def _fill_gaps(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """Return the frames, where people of the last one are missing with their boxes in between.

    Nothing is filled across a shot boundary.
    """
    shot = max((k for k, frame in enumerate(frames) if frame.extras.get("cut")), default=0)
    return (*frames[:shot], *_fill_shot(frames[shot:]))


def _fill_shot(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    known = [_find_people(frame) for frame in frames]
    if len(frames) < 3 or known[-1].keys() <= known[-2].keys():
        return frames
    added: list[list[Unseen]] = [[] for _ in frames]
    for id, end in known[-1].items():
        start = next((k for k in range(len(frames) - 2, -1, -1) if id in known[k]), None)
        if start is None:
            continue
        for k in range(start + 1, len(frames) - 1):
            share = (frames[k].time - frames[start].time) / (frames[-1].time - frames[start].time)
            added[k].append(Unseen(id, _blend(known[start][id], end, share)))
    return tuple(map(_add_unseen, frames, added))


def _add_unseen(frame: Frame, people: Sequence[Unseen]) -> Frame:
    if not people:
        return frame
    who = _get_assignments(frame)
    return frame.with_extras(**{ASSIGNMENTS: replace(who, unseen=(*who.unseen, *people))})


def _blend(start: PersonDetection, end: PersonDetection, share: Fraction) -> PersonDetection:
    """Return a box at a part of the way between two, with the lower score."""
    a, b = np.array(start.box), np.array(end.box)
    left, top, width, height = (a + float(share) * (b - a)).tolist()
    return PersonDetection((left, top, width, height), min(start.score, end.score))


def _add_records(frame: Frame) -> Frame:
    """Return the frame with a record for each person, without what the stages passed on."""
    people, unseen = _find_people(frame), {one.id for one in _get_assignments(frame).unseen}
    earlier: Any = frame.extras.get("records", ())
    records = [make_record(id, people[id], id not in unseen) for id in sorted(people)]
    extras = {key: value for key, value in frame.extras.items()
              if key not in (DETECTIONS, ASSIGNMENTS)}  # fmt: skip
    return replace(frame, extras=extras | {"records": (*earlier, *records)})


def make_record(id: int, person: PersonDetection, seen: bool) -> dict[str, Any]:
    """Return the record of a person in a frame; see docs/track.md for its fields."""
    return {
        "kind": "person",
        "version": VERSION,
        "id": id,
        "box": tuple(round(float(value), 3) for value in person.box),
        "score": round(person.score, 4),
        "seen": seen,
        **{name: _to_plain(value) for name, value in person.fields.items()},
    }


def _to_plain(value: Any) -> Any:
    """Return arrays as nested tuples of numbers; other values stay."""
    if isinstance(value, np.ndarray):
        return tuple(map(_to_plain, value)) if value.ndim else _to_plain(value.item())
    if isinstance(value, np.generic):
        return _to_plain(value.item())
    return round(value, 6) if isinstance(value, float) else value
