"""Records as JSON of COCO: images, people with 17 keypoints, and the names of the keypoints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from filmgate.core.frame import Frame, StreamSpec
from filmgate.media.records.person import COCO_LINES, COCO_NAMES, find_coco_points
from filmgate.media.records.record_format import (
    LineEncoder,
    Record,
    RecordFormat,
    SegmentEncoder,
    explain_record,
    iter_tracked,
)

_IMAGE, _PERSON = b"i", b"p"  # the first byte of a line of a segment
_VISIBLE = 0.5  # the lowest score of a point that is not hidden
_CATEGORY = {
    "id": 1, "name": "person", "supercategory": "person", "keypoints": COCO_NAMES,
    "skeleton": [(a + 1, b + 1) for a, b in COCO_LINES],
}  # fmt: skip


class CocoJson(RecordFormat):
    """One JSON object; an image's id is its frame's index, an annotation's its place from 1."""

    def __init__(self, spec: StreamSpec) -> None:
        self._spec = spec

    def start(self, file: BinaryIO) -> SegmentEncoder:
        """See `RecordFormat`."""
        return LineEncoder(file, self._encode)

    def join(self, segments: Sequence[Path], output: BinaryIO) -> None:
        """See `RecordFormat`. The segments are read twice: images are before people."""
        info = {"description": "people by Filmgate", "version": "1"}
        output.write(b'{"info": ' + _dump(info) + b',\n"images": [')
        for number, line in enumerate(_iter_lines(segments, _IMAGE)):
            output.write((b",\n" if number else b"\n") + line)
        output.write(b'],\n"annotations": [')
        for number, line in enumerate(_iter_lines(segments, _PERSON)):
            # the line is an object: its id goes in front of its first field
            output.write((b",\n" if number else b"\n") + b'{"id": %d, ' % (number + 1) + line[1:])
        output.write(b'],\n"categories": [' + _dump(_CATEGORY) + b"]}\n")

    def _encode(self, frames: Sequence[Frame]) -> Iterator[bytes]:
        for frame in frames:
            image = {"id": frame.index, "width": self._spec.width, "height": self._spec.height,
                     "file_name": f"{frame.index:06}.png", "time": float(frame.time)}  # fmt: skip
            yield _IMAGE + _dump(image) + b"\n"
            for record in iter_tracked(frame):
                try:
                    yield _PERSON + _dump(_make_annotation(record)) + b"\n"
                except (TypeError, ValueError) as error:
                    raise explain_record(frame.index, record, error) from error


def _make_annotation(record: Record) -> dict[str, Any]:
    box = record["box"]
    points = find_coco_points(record)
    keypoints = [value for x, y, score in points for value in (x, y, 2 if score >= _VISIBLE else 1)]
    return {
        "image_id": record["frame"],
        "category_id": 1,
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": 0,
        "keypoints": keypoints or [0] * 51,
        "num_keypoints": len(points),
        "score": record["score"],
        "track_id": record["id"],
    }


def _iter_lines(segments: Sequence[Path], kind: bytes) -> Iterator[bytes]:
    for path in segments:
        with open(path, "rb") as file:
            yield from (line[1:-1] for line in file if line.startswith(kind))


def _dump(value: object) -> bytes:
    return json.dumps(value, allow_nan=False).encode()
