"""SCRFD and the network of 106 points: where faces are, and points on each.

Both run in ONNX Runtime on one thread of the CPU, so that a result does not depend on the machine's
number of cores. Crops and their rounding are those of the published code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from filmgate.errors import BadWeights
from filmgate.media.pixels.planes import Planes
from filmgate.models.families.insightface.published import require_onnx
from filmgate.models.people.detector import Detection
from filmgate.models.people.regions import Floats, Region, crop, find_overlap
from filmgate.models.people.tracker import Reading

Array = npt.NDArray[np.float32]
Shapes = tuple[tuple[int | None, ...], ...]  # None: any length

SIDE = 512  # pixels of the square that is searched
STRIDES = (8, 16, 32)  # pixels between anchors
ANCHORS = 2  # at each place
COUNT, VIEW = 106, 192  # points, and pixels of the square that they are read in
# Shapes of the input and the outputs: scores, boxes and five points, each for all strides.
DETECTOR_SHAPES: Shapes = (
    (1, 3, None, None),
    *(((None, width)) for width in (1, 4, 10) for _ in STRIDES),
)
POINT_SHAPES: Shapes = ((None, 3, VIEW, VIEW), (1, 2 * COUNT))
_AROUND = 1.5  # times a face's box: what the points are read in
_OVERLAP = 0.4  # detections that overlap more are of one face


class Network(Protocol):
    """A network of one image: RGB (3, side, side), 0 to 255, as it was trained on."""

    def __call__(self, image: Array) -> Sequence[Array]:
        """Return the outputs."""
        ...


class OnnxNetwork:
    """A network in a session of ONNX Runtime. Threads may share it."""

    def __init__(self, session: Any) -> None:
        self._session, self._name = session, session.get_inputs()[0].name

    def __call__(self, image: Array) -> Sequence[Array]:
        return self._session.run(None, {self._name: image[None]})  # type: ignore[no-any-return]


def open_network(path: Path, shapes: Shapes, device: str) -> OnnxNetwork:
    """Return the network in a file; `shapes` are those of its input and its outputs, in order.

    It runs on the CPU, whatever `device` is. Raises BadWeights, BadSetting without ONNX Runtime.
    """
    require_onnx()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class
        raise BadWeights(f"{path} is no network that ONNX Runtime can run ({error!s:.100}): pass "
                         "the published file") from error  # fmt: skip
    found = [tuple(one.shape) for one in (*session.get_inputs(), *session.get_outputs())]
    if len(found) != len(shapes) or not all(map(_has_shape, found, shapes)):
        raise BadWeights(f"{path} has tensors of the shapes {found!s:.200}, wanted "
                         f"{shapes!s:.200}: pass the published file")  # fmt: skip
    return OnnxNetwork(session)


def _has_shape(found: Sequence[object], wanted: Sequence[int | None]) -> bool:
    """Return whether a shape is the wanted one; a length that has a name may be any."""
    return len(found) == len(wanted) and all(
        length is None or not isinstance(own, int) or own == length
        for own, length in zip(found, wanted, strict=True)
    )


@dataclass(frozen=True)
class FaceModel:
    """The detector, and the network of points. The points of a record have a depth of 0."""

    detector: Network
    network: Network
    threshold: float = 0.5
    kind: ClassVar[str] = "face"
    count: ClassVar[int] = COUNT

    def detect(self, image: Planes, thorough: bool) -> list[Detection]:
        """See `PointModel`. The image is searched once, as in the published code."""
        side = float(max(image.size))
        pixels = crop(image, Region(side / 2, side / 2, side), SIDE, average=False)
        outputs = self.detector(_to_input((np.rint(pixels * 255) - 127.5) / 128))
        found = decode(outputs, self.threshold)
        scale = side / SIDE
        return [
            Detection(one.score, _scale(one.box, scale), one.points * scale)
            for one in drop_overlapping(found)
        ]

    def start_region(self, found: Detection) -> Region:
        """Return the square around the box in which points are read.

        Boxes count from the centre of the first pixel, and so does the square's middle: half a
        pixel of the image, less half a pixel of the square.
        """
        left, top, right, bottom = found.box
        side = max(1.0, _AROUND * max(right - left, bottom - top))
        shift = 0.5 - 0.5 * side / VIEW
        return Region((left + right) / 2 + shift, (top + bottom) / 2 + shift, side)

    def next_region(self, points: Floats) -> Region:
        """See `PointModel`; not used, since each frame is searched."""
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        centre, side = (low + high) / 2, _AROUND * float((high - low).max())
        return Region(float(centre[0]), float(centre[1]), max(1.0, side))

    def read(self, image: Planes, region: Region) -> Reading:
        """See `PointModel`. The score is that of the detection, so 1 here."""
        pixels = crop(image, region, VIEW, average=False)
        (values,) = self.network(_to_input(np.rint(pixels * 255)))
        places = (values.astype(np.float64).reshape(-1, 2) + 1) * (VIEW // 2)
        points = region.to_image((places + 0.5) / VIEW)
        return Reading(1.0, np.column_stack([points, np.zeros(len(points))]), {})


def decode(outputs: Sequence[Array], threshold: float) -> list[Detection]:
    """Return what is found of at least this score, in pixels of the square, any order."""
    found = []
    for k, stride in enumerate(STRIDES):
        scores, sides, points = (outputs[k + len(STRIDES) * n].astype(np.float64) for n in range(3))
        for index in np.flatnonzero(scores[:, 0] >= threshold):
            place = _place_anchors(stride)[index]
            low, high = place - sides[index, :2] * stride, place + sides[index, 2:] * stride
            five = place + points[index].reshape(-1, 2) * stride
            box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
            found.append(Detection(float(scores[index, 0]), box, five))
    return found


def drop_overlapping(found: Sequence[Detection]) -> list[Detection]:
    """Return the detections, best first, without those that overlap a better one."""
    kept: list[Detection] = []
    for one in sorted(found, key=lambda one: -one.score):
        if all(find_overlap(one.box, other.box) <= _OVERLAP for other in kept):
            kept.append(one)
    return kept


@cache
def _place_anchors(stride: int) -> Floats:
    """Return the places (N, 2) of anchors in pixels, row by row."""
    count = SIDE // stride
    y, x = np.mgrid[:count, :count].reshape(2, -1)
    return np.repeat(np.column_stack([x, y]) * float(stride), ANCHORS, axis=0)


def _to_input(image: npt.NDArray[Any]) -> Array:
    return np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)


def _scale(box: tuple[float, ...], scale: float) -> tuple[float, float, float, float]:
    left, top, right, bottom = (value * scale for value in box)
    return left, top, right, bottom
