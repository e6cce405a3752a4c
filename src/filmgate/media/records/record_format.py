"""What a format of records does: encode a segment as frames come, and join segments."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO

from filmgate.core.frame import Frame
from filmgate.errors import FilmgateError

Record = dict[str, Any]
_PLACE = ("frame", "time", "duration")


class SegmentEncoder(ABC):
    """Writes the frames of one segment to an open file."""

    @abstractmethod
    def write(self, frames: Sequence[Frame]) -> None:
        """Write the records of the next frames. Raises FilmgateError for what is no record."""

    def close(self) -> None:  # noqa: B027
        """Write what is left, after the last frame; the file stays open."""

    def abandon(self) -> None:  # noqa: B027
        """Write no more: the file is closed and not complete."""


class RecordFormat(ABC):
    """A format of files of records. A segment is in it, or close to it, so that joining is fast.

    Joining holds a bounded part of the segments in memory, and the result does not depend on where
    they were split.
    """

    @abstractmethod
    def start(self, file: BinaryIO) -> SegmentEncoder:
        """Return an encoder of a new segment."""

    @abstractmethod
    def join(self, segments: Sequence[Path], output: BinaryIO) -> None:
        """Write the complete file; there is at least one segment."""


class LineEncoder(SegmentEncoder):
    """Writes each piece of text that a function makes of frames."""

    def __init__(
        self, file: BinaryIO, encode: Callable[[Sequence[Frame]], Iterable[bytes]]
    ) -> None:
        self._file, self._encode = file, encode

    def write(self, frames: Sequence[Frame]) -> None:
        """See `SegmentEncoder`."""
        self._file.writelines(self._encode(frames))


class ConcatenatedFormat(RecordFormat):
    """A format whose files are their segments, one after another, between two constants."""

    head: bytes = b""
    tail: bytes = b""

    @abstractmethod
    def encode(self, frames: Sequence[Frame]) -> Iterable[bytes]:
        """Return what the next frames add to the file."""

    def start(self, file: BinaryIO) -> SegmentEncoder:
        """See `RecordFormat`."""
        return LineEncoder(file, self.encode)

    def join(self, segments: Sequence[Path], output: BinaryIO) -> None:
        """See `RecordFormat`."""
        output.write(self.head)
        for path in segments:
            with open(path, "rb") as file:
                shutil.copyfileobj(file, output)
        output.write(self.tail)


def iter_records(frame: Frame) -> Iterator[Record]:
    """Yield the records of a frame, with its place first: frame, time and duration (seconds)."""
    place = {"frame": frame.index, "time": float(frame.time), "duration": float(frame.duration)}
    records: Any = frame.extras.get("records", ())
    for record in records:
        if not isinstance(record, Mapping):
            raise explain_record(frame.index, record, "it is no dict")
        yield place | dict(record)


def iter_tracked(frame: Frame) -> Iterator[Record]:
    """Yield the records of someone with a number and a box, as floats; with "score" and "seen".

    Raises FilmgateError for a number that is no integer, and a box or score that is not finite.
    """
    for record in iter_records(frame):
        if "id" not in record or "box" not in record:
            continue
        try:
            left, top, width, height = map(float, record["box"])
            id, score = int(record["id"]), float(record.get("score", 1))
            if not all(map(isfinite, (left, top, width, height, score))):
                raise ValueError("its box or its score is not finite")
        except (TypeError, ValueError) as error:
            raise explain_record(frame.index, record, error) from error
        seen = bool(record.get("seen", True))
        box = (left, top, width, height)
        yield record | {"id": id, "box": box, "score": score, "seen": seen}


def explain_record(frame: int, record: object, reason: object) -> FilmgateError:
    """Return an error for a record that cannot be written."""
    if isinstance(record, Mapping):
        record = {name: value for name, value in record.items() if name not in _PLACE}
    return FilmgateError(
        f"a record of frame {frame} is {record!r:.60}: wanted a dict of plain, finite values "
        f"({reason})"
    )
