"""Where the face is: three points of it, by a finder, from a file, or in a box by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.join import SOURCE
from filmgate.core.stage import Reach
from filmgate.errors import BadSetting, Unsupported
from filmgate.media.pixels.planes import Planes
from filmgate.models.families.latentsync.alignment import Landmarks, Point

if TYPE_CHECKING:
    from filmgate.media.records.box_reader import BoxTable

LANDMARKS = "lipsync.landmarks"  # Landmarks of the face that is changed; missing if there is none
Box = tuple[float, float, float, float]  # left, top, width, height, in pixels
# Points of the face mesh: both brows, and the tip, bridge and wings of the nose.
_LEFT_BROW = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55)
_RIGHT_BROW = (300, 293, 334, 296, 336, 276, 283, 282, 295, 285)
_NOSE = (195, 4, 98, 327)
_CHIN = 152
_MESH_POINTS = 468
_LOST, _SURE = 0.5, 0.9  # scores of the mesh where a face is lost, and from which on it is certain
# How far apart the lips of several readings are where they are hidden, in parts of the distance
# between the eyes: chosen on the clips of bench/lipsync_covered.py.
_HIDDEN = 0.095
# The same of the 106 points of InsightFace, by which the published code aligns.
_PLAIN_BROWS = (43, 48, 49, 51, 50), (101, 102, 103, 104, 105)
_PLAIN_NOSE = (74, 77, 83, 86)
_PLAIN_POINTS = 106
# The same points in a box around a face seen from the front, from hair to chin.
_IN_BOX = ((0.24, 0.2), (0.76, 0.2), (0.5, 0.48))
_WORK_SIDE = 160  # pixels of the image around a box, in which it is followed
_AROUND = 2  # times the width and height of the box


def find_in_mesh(
    points: Sequence[Sequence[float]], score: float = 1.0, spread: float = 0.0
) -> Landmarks:
    """Return the landmarks in the points of a face mesh, whose pixel centres are at one half.

    `score`: the mesh's own; it falls where a face is covered or turns away, before it is lost.
    `spread`: how far apart its lips are in several readings, which tells if the mouth is covered.
    """
    left, right, nose, chin = _average(points, (_LEFT_BROW, _RIGHT_BROW, _NOSE, (_CHIN,)))
    certainty = min(1.0, max(0.0, (score - _LOST) / (_SURE - _LOST)))
    return Landmarks(left, right, nose, chin, certainty, spread > _HIDDEN)


def find_in_points(
    points: Sequence[Sequence[float]], score: float = 1.0, spread: float = 0.0
) -> Landmarks | None:
    """Return the landmarks in the points of a record: of the face mesh, or 106; else None.

    Of 106 points the chin is not read.
    """
    if len(points) == _PLAIN_POINTS:
        left, right, nose = _average(points, (*_PLAIN_BROWS, _PLAIN_NOSE))
        return Landmarks(left, right, nose)
    return find_in_mesh(points, score, spread) if len(points) >= _MESH_POINTS else None


def _average(points: Sequence[Sequence[float]], groups: Sequence[Sequence[int]]) -> list[Point]:
    """Return the middle of each group of points."""
    table = np.array(points, np.float64)[:, :2] - 0.5
    middles = [table[list(group)].mean(0).tolist() for group in groups]
    return [(x, y) for x, y in middles]


def find_in_box(box: Box) -> Landmarks:
    """Return where the landmarks of a face are that fills a box and looks to the camera."""
    left, top, width, height = box
    a, b, c = ((left + x * width - 0.5, top + y * height - 0.5) for x, y in _IN_BOX)
    return Landmarks(a, b, c)


def measure_front(landmarks: Landmarks) -> float:
    """Return how much a face looks to the camera, 1 from the front, 0 in profile, times how certain
    it is.

    It is by where the nose is between the brows.
    """
    left, right, nose = landmarks.to_array()
    across = right - left
    length = float(across @ across)
    place = float((nose - left) @ across) / length if length else 0.0
    return landmarks.certainty * min(1.0, max(0.0, (0.5 - abs(place - 0.5)) / 0.2))


# --- stages ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChooseFace:
    """Attaches the landmarks of one of the faces that a frame's records have: the largest, or
    the one of number `id`."""

    id: int | None = None
    name: str = "choose"

    def __call__(self, frames: Sequence[Frame]) -> list[Frame]:
        outputs = []
        for frame in frames:
            records: Any = frame.extras.get("records", ())
            faces = [one for one in records
                     if one.get("kind") == "face" and self.id in (None, one["id"])]  # fmt: skip
            found = max(faces, key=lambda face: face["box"][2] * face["box"][3], default=None)
            landmarks = None
            if found is not None:
                spread = found.get("lip_spread", 0.0)
                landmarks = find_in_points(found["points"], found.get("score", 1.0), spread)
            if landmarks is not None:
                frame = frame.with_extras(**{LANDMARKS: landmarks})
            outputs.append(frame)
        return outputs


@dataclass(frozen=True)
class ReadFaces:
    """Attaches the landmarks of the largest box that a table has for a frame of the source, or of
    the one of number `id`."""

    table: BoxTable = field(compare=False, repr=False)
    id: int | None = None
    name: str = "faces"

    def __call__(self, frames: Sequence[Frame]) -> list[Frame]:
        return [self._attach(frame) for frame in frames]

    def _attach(self, frame: Frame) -> Frame:
        index: Any = frame.extras.get(SOURCE, frame.index)
        rows = [row for row in self.table.find_rows(index)
                if self.id in (None, int(self.table.ids[row]))]  # fmt: skip
        boxes: list[Box] = [tuple(self.table.boxes[row].tolist()) for row in rows]
        if not boxes:
            return frame
        box = max(boxes, key=lambda box: box[2] * box[3])
        return frame.with_extras(**{LANDMARKS: find_in_box(box)})


@dataclass(frozen=True, slots=True)
class FollowState:
    """Where the box is, and the luma around it in the last frame, (side, side) uint8."""

    box: tuple[float, float, float, float]
    luma: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FollowBox:
    """Attaches the landmarks of a face in a box, given for the first frame and moved with the
    median of the optical flow in it. A shot boundary ends it."""

    box: Box
    name: str = "follow"

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(past=None)

    def output(self, spec: StreamSpec) -> StreamSpec:
        left, top, width, height = self.box
        if left >= spec.width or top >= spec.height or left + width <= 0 or top + height <= 0:
            raise BadSetting(f"box is {','.join(f'{v:g}' for v in self.box)} and the video is "
                             f"{spec.width}x{spec.height}: pass one in it")  # fmt: skip
        return spec

    def start(self, spec: StreamSpec, first: Position) -> tuple[FollowState, ...]:
        return (FollowState(self.box, np.zeros((0, 0), np.uint8)),)

    def step(
        self, state: tuple[FollowState, ...], frames: Sequence[Frame]
    ) -> tuple[tuple[FollowState, ...], list[Frame]]:
        outputs = []
        for frame in frames:
            if frame.extras.get("cut"):
                state = ()
            if state:
                state = (_move(state[0], frame),)
                frame = frame.with_extras(**{LANDMARKS: find_in_box(state[0].box)})
            outputs.append(frame)
        return state, outputs

    def finish(self, state: tuple[FollowState, ...]) -> tuple[None, list[Frame]]:
        return None, []


def _move(state: FollowState, frame: Frame) -> FollowState:
    """Return the box in the next frame, and the luma around it."""
    import cv2

    if not isinstance(frame.image, Planes):
        raise Unsupported("a box is followed in planes, and these are RGB tensors: put the stage "
                          "before their conversion")  # fmt: skip
    box = state.box
    if state.luma.size:
        luma = _look_around(frame.image, box)
        flow: Any = cv2.calcOpticalFlowFarneback(
            state.luma,
            luma,
            None,
            0.5,
            3,
            15,
            3,
            5,
            1.2,
            0,  # type: ignore[call-overload]
        )
        inside = slice(_WORK_SIDE // 4, 3 * _WORK_SIDE // 4)  # half of it is around the box
        moved = np.median(flow[inside, inside].reshape(-1, 2), axis=0).tolist()
        left, top, width, height = box
        x, y = (moved[k] * _AROUND * (width, height)[k] / _WORK_SIDE for k in range(2))
        box = (left + x, top + y, width, height)
    return FollowState(box, _look_around(frame.image, box))


def _look_around(image: Planes, box: Box) -> npt.NDArray[np.uint8]:
    """Return the luma of twice the box, black outside of the image."""
    import cv2

    left, top, width, height = box
    x, y = _AROUND * width / _WORK_SIDE, _AROUND * height / _WORK_SIDE
    start = left - (_AROUND - 1) / 2 * width, top - (_AROUND - 1) / 2 * height
    matrix = np.array([[x, 0, start[0] + x / 2 - 0.5], [0, y, start[1] + y / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    plane: Any = cv2.warpAffine(image.arrays[0], matrix, (_WORK_SIDE, _WORK_SIDE), flags=flags)
    return (plane >> (image.bits - 8)).astype(np.uint8)  # type: ignore[no-any-return]
