"""Read boxes by frame: from JSON Lines, or from text of the MOT challenge.

MOT: `frame, id, left, top, width, height, confidence, ...` in each line, frames counted from 1
(Milan et al., "MOT16: A Benchmark for Multi-Object Tracking", 2016). Files are untrusted.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from filmgate.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_MAX_LINE_BYTES = 16 << 20
_MAX_FRAME, _MAX_PIXELS = 1 << 40, 1e6
_PEDESTRIAN = 1  # a class of MOT
_WANTED = ('wanted JSON Lines with "frame" and "box", or lines of numbers: frame, id, left, top, '
           "width, height, confidence")  # fmt: skip

Row = tuple[int, int, tuple[float, float, float, float], float]


@dataclass(frozen=True, slots=True)
class BoxTable:
    """Boxes in the order of their frames; 40 bytes each.

    `frames` (N,) int64, from 0. `ids` (N,) int64, 0 if unknown. `boxes` (N, 4) float32: left, top,
    width and height in pixels. `scores` (N,) float32, 0 to 1.
    """

    frames: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]

    def find_rows(self, frame: int) -> range:
        """Return the rows of one frame."""
        import numpy as np

        first, last = np.searchsorted(self.frames, [frame, frame + 1]).tolist()
        return range(first, last)


def read_boxes(path: Path) -> BoxTable:
    """Return all boxes of a file; their order may be any. Raises BadInput with the line."""
    import numpy as np

    frames, ids, values, scores = array("q"), array("q"), array("f"), array("f")
    try:
        with open(path, "rb") as file:
            for frame, id, box, score in _iter_rows(file, path):
                frames.append(frame)
                ids.append(id)
                values.extend(box)
                scores.append(score)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}; check the name") from error
    if not frames:
        raise BadInput(f"{path} has no boxes: {_WANTED}")
    found = np.array(frames, np.int64)
    order = np.argsort(found, kind="stable")
    return BoxTable(
        found[order],
        np.array(ids, np.int64)[order],
        np.array(values, np.float32).reshape(-1, 4)[order],
        np.array(scores, np.float32)[order],
    )


def _iter_rows(file: BinaryIO, path: Path) -> Iterator[Row]:
    number = 0
    while line := file.readline(_MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > _MAX_LINE_BYTES:
            raise BadInput(f"{path} has a line {number} of more than {_MAX_LINE_BYTES} bytes: "
                           f"{_WANTED}")  # fmt: skip
        text = line.strip()
        if not text or text.startswith(b"#"):
            continue
        try:
            row = _parse_json(text) if text.startswith(b"{") else _parse_mot(text)
            if row is not None:
                yield _check(row)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise BadInput(f"{path}, line {number} is {text[:60].decode(errors='replace')!r} "
                           f"({error!s:.100}): {_WANTED}") from error  # fmt: skip


def _parse_json(text: bytes) -> Row | None:
    """Return the box of a record, None if it has none."""
    record: dict[str, Any] = json.loads(text)
    if "box" not in record:
        return None
    left, top, width, height = map(float, record["box"])
    frame, id = record["frame"], record.get("id", 0)
    if type(frame) is not int or type(id) is not int:
        raise ValueError("frame and id must be integers")
    return frame, id, (left, top, width, height), float(record.get("score", 1))


def _parse_mot(text: bytes) -> Row | None:
    """Return the box of a line, None if the line is to be ignored or of another class."""
    cells = text.replace(b",", b" ").split()
    if not 6 <= len(cells) <= 10:
        raise ValueError(f"{len(cells)} columns")
    numbers = [float(cell) for cell in cells]
    frame, id, left, top, width, height, score, *rest = [*numbers, 1.0][: max(7, len(numbers))]
    if frame != int(frame) or id != int(id):
        raise ValueError("frame and id must be integers")
    if len(rest) == 2 and (not score or rest[0] != _PEDESTRIAN):  # truth: is it evaluated, class
        return None
    score = 1.0 if score == -1 else score  # -1: not known
    return int(frame) - 1, max(0, int(id)), (left, top, width, height), score


def _check(row: Row) -> Row:
    """Return the row, with a score of at most 1. Raises ValueError for impossible numbers."""
    frame, id, box, score = row
    if not 0 <= frame < _MAX_FRAME or not -_MAX_FRAME < id < _MAX_FRAME:
        raise ValueError(f"frame is {frame} and id is {id}")
    if not all(isfinite(value) and abs(value) < _MAX_PIXELS for value in box):
        raise ValueError(f"the box is {box}")
    if box[2] <= 0 or box[3] <= 0:
        raise ValueError(f"the box is {box[2]:g} x {box[3]:g} pixels")
    if not isfinite(score):
        raise ValueError(f"the score is {score}")
    return frame, id, box, min(max(score, 0.0), 1.0)
