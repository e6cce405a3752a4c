"""Records as a pickle in the layout of PHALP: a dict of frames, each a dict of lists.

Such files are only written, never read: a pickle can run any code when it is read.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from filmgate.core.frame import Frame, StreamSpec
from filmgate.media.records.person import flatten
from filmgate.media.records.record_format import ConcatenatedFormat, Record, iter_tracked

_PROTOCOL = 3  # the newest without frames, so that pickles can be put together
_ORIENT, _POSE, _BETAS = (1, 3, 3), (23, 3, 3), (10,)


class PhalpPickle(ConcatenatedFormat):
    """What `joblib.load` reads as PHALP writes it, with what is known here.

    The name of a frame is that of PHALP's own images, 000001.jpg for the first.
    """

    head = pickle.PROTO + bytes([_PROTOCOL]) + pickle.EMPTY_DICT
    tail = pickle.STOP

    def __init__(self, spec: StreamSpec) -> None:
        self._size = spec.width, spec.height

    def encode(self, frames: Sequence[Frame]) -> Iterator[bytes]:
        """See `ConcatenatedFormat`."""
        for frame in frames:
            entry = _make_entry(frame, list(iter_tracked(frame)), *self._size)
            # between its header of two bytes and its end, a pickle puts a value on the stack
            yield _dump(entry["frame_path"]) + _dump(entry) + pickle.SETITEM


class _Pickler(pickle.Pickler):
    """Pickles arrays so that every NumPy can read them: 2 has another name for its own function."""

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return NotImplemented
        state = (1, value.shape, value.dtype, False, value.tobytes())
        return np.ndarray, ((0,), np.dtype(np.int8)), state


def _dump(value: object) -> bytes:
    file = io.BytesIO()
    _Pickler(file, _PROTOCOL).dump(value)
    return file.getvalue()[2:-1]


def _make_entry(frame: Frame, people: list[Record], width: int, height: int) -> dict[str, Any]:
    """Return the dict of a frame; a value that is unknown for one of its people is None."""
    name, count = f"{frame.index + 1:06}.jpg", len(people)
    boxes = [_array(person["box"], (4,)) for person in people]
    ids = [person["id"] for person in people]
    entry: dict[str, Any] = {
        "time": frame.index, "shot": int(bool(frame.extras.get("cut"))), "frame_path": name,
        "tid": ids, "bbox": boxes,
        "tracked_ids": ids, "tracked_bbox": boxes,
        "tracked_time": [0 if person["seen"] else 1 for person in people],
        "center": [box[:2] + box[2:] / 2 for box in boxes],
        "scale": [np.repeat(box[2:].max(), 2) for box in boxes],
        "size": [[height, width]] * count,
        "img_path": [name] * count, "img_name": [name] * count, "class_name": [0] * count,
        "conf": [person["score"] for person in people],
        "annotations": [[]] * count,
    }  # fmt: skip
    side = max(width, height)
    more: dict[str, list[Any]] = {
        "smpl": [_make_smpl(person) for person in people],
        "camera": [_find(person, "translation", (3,)) for person in people],
        "camera_bbox": [_find(person, "camera_crop", (3,)) for person in people],
        "3d_joints": [_find(person, "joints_3d", (-1, 3)) for person in people],
        # in parts of the square that is around the image
        "2d_joints": [
            None if points is None
            else ((points + (side - np.array([width, height])) / 2) / side).ravel()
            for points in (_find(person, "joints_2d", (-1, 2)) for person in people)
        ],
    }  # fmt: skip
    return entry | {name: values for name, values in more.items()
                    if any(value is not None for value in values)}  # fmt: skip


def _make_smpl(person: Record) -> dict[str, Any] | None:
    if not {"global_orient", "body_pose", "betas"} <= person.keys():
        return None
    return {
        "global_orient": _array(person["global_orient"], _ORIENT),
        "body_pose": _array(person["body_pose"], _POSE),
        "betas": _array(person["betas"], _BETAS),
    }


def _find(person: Record, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64] | None:
    return _array(person[name], shape) if name in person else None


def _array(values: object, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    return np.array(flatten(values), np.float64).reshape(shape)
