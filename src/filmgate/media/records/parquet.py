"""Records as Parquet: one row for each record, with the columns of `COLUMNS`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from filmgate.core.frame import Frame
from filmgate.errors import BadSetting
from filmgate.installation import advise_install
from filmgate.media.records.person import flatten
from filmgate.media.records.record_format import (
    Record,
    RecordFormat,
    SegmentEncoder,
    explain_record,
    iter_records,
)

VERSION = 1  # of the columns; in the file's metadata as "filmgate.records"
# Names and types of the columns; "numbers" and "points" are lists of float32, and of such lists.
COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "frame": "int64", "time": "double", "duration": "double", "kind": "string",
        "track": "int64", "seen": "bool", "box": "numbers", "score": "float",
        "skeleton": "string", "keypoints_2d": "points", "keypoint_scores": "numbers",
        "keypoints_3d": "points", "pose": "numbers", "shape": "numbers", "camera": "numbers",
        "more": "string",
    }
)  # fmt: skip
_ROW_GROUP = 4096  # rows
_BUFFER = 512  # rows of a segment that wait


def check_pyarrow() -> None:
    """Raise BadSetting, with what to install, if pyarrow is missing."""
    if find_spec("pyarrow") is None:
        raise BadSetting("a .parquet file needs pyarrow, which is not installed: run "
                         f"{advise_install('parquet')}, or name the output .jsonl")  # fmt: skip


class Parquet(RecordFormat):
    """A segment is a Parquet file too; joined, all row groups have the same number of rows."""

    def __init__(self) -> None:
        check_pyarrow()

    def start(self, file: BinaryIO) -> SegmentEncoder:
        """See `RecordFormat`."""
        return _ParquetEncoder(file)

    def join(self, segments: Sequence[Path], output: BinaryIO) -> None:
        """See `RecordFormat`."""
        import pyarrow as pa

        writer, waiting = _open_writer(output), make_schema().empty_table()
        for batch in _iter_batches(segments):
            waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch])])
            while len(waiting) >= _ROW_GROUP:
                writer.write_table(waiting[:_ROW_GROUP].combine_chunks())
                waiting = waiting[_ROW_GROUP:]
        if len(waiting):
            writer.write_table(waiting.combine_chunks())
        writer.close()


class _ParquetEncoder(SegmentEncoder):
    def __init__(self, file: BinaryIO) -> None:
        self._writer, self._rows = _open_writer(file), list[Record]()

    def write(self, frames: Sequence[Frame]) -> None:
        """See `SegmentEncoder`."""
        for frame in frames:
            for record in iter_records(frame):
                try:
                    self._rows.append(make_row(record))
                except (TypeError, ValueError) as error:
                    raise explain_record(frame.index, record, error) from error
        if len(self._rows) >= _BUFFER:
            self._flush()

    def close(self) -> None:
        """See `SegmentEncoder`."""
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        """See `SegmentEncoder`."""
        self._writer.is_open = False  # else it writes its end when it is deleted

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            try:
                table = pa.Table.from_pylist(self._rows, make_schema())
            except (ValueError, TypeError, OverflowError) as error:  # pyarrow's are among them
                first = self._rows[0]
                raise explain_record(first["frame"], first, f"or one after it: {error}") from error
            self._writer.write_table(table)
            self._rows = []


def make_row(record: Record) -> Record:
    """Return the columns of a record. Raises ValueError, TypeError for values that do not fit."""
    rest = dict(record)
    rest.pop("version", None)
    row = {name: rest.pop(name) for name in ("frame", "time", "duration")}
    row |= {name: rest.pop(name, None) for name in ("kind", "seen", "score", "skeleton")}
    if "points" not in rest and "joints_2d" in rest:
        row["skeleton"] = "openpose"
    pose = None
    if {"global_orient", "body_pose"} <= rest.keys():
        pose = [*flatten(rest.pop("global_orient")), *flatten(rest.pop("body_pose"))]
    row |= {
        "track": rest.pop("id", None),
        "box": _flatten(_take(rest, "box")),
        "keypoints_2d": _list_points(_take(rest, "points", "joints_2d")),
        "keypoint_scores": _flatten(_take(rest, "point_scores", "visibility")),
        "keypoints_3d": _list_points(_take(rest, "world", "joints_3d")),
        "pose": pose,
        "shape": _flatten(_take(rest, "betas")),
        "camera": _flatten(_take(rest, "translation")),
    }
    row["more"] = json.dumps(rest, default=float, allow_nan=False) if rest else None
    return row


def _take(rest: Record, *names: str) -> Any:
    """Return and remove the first of these fields that the record has, None if it has none."""
    return next((rest.pop(name) for name in names if name in rest), None)


def _flatten(values: Any) -> list[float] | None:
    return None if values is None else flatten(values)


def _list_points(points: Any) -> list[list[float]] | None:
    return None if points is None else [flatten(point) for point in points]


def make_schema() -> Any:
    """Return the schema of pyarrow."""
    import pyarrow as pa

    numbers = pa.list_(pa.float32())
    types = {
        "int64": pa.int64(), "double": pa.float64(), "float": pa.float32(), "string": pa.string(),
        "bool": pa.bool_(), "numbers": numbers, "points": pa.list_(numbers),
    }  # fmt: skip
    fields = [(name, types[kind]) for name, kind in COLUMNS.items()]
    return pa.schema(fields, {"filmgate.records": str(VERSION)})


def _open_writer(file: BinaryIO) -> Any:
    from pyarrow.parquet import ParquetWriter

    return ParquetWriter(file, make_schema(), compression="zstd")


def _iter_batches(segments: Sequence[Path]) -> Iterator[Any]:
    from pyarrow.parquet import ParquetFile

    for path in segments:
        with ParquetFile(path) as file:
            yield from file.iter_batches(_BUFFER)
