"""Write the records that frames carry as JSON Lines, in segments that survive the process."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filmgate.core.frame import Frame
from filmgate.core.snapshot import CheckpointStore, Commit, Snapshot
from filmgate.errors import BadSetting, FilmgateError, OutputExists
from filmgate.storage.atomic import fsync_directory, fsync_file, replace_durably, write_atomic
from filmgate.storage.fingerprint import sha256_of

_SEGMENT_NAME = re.compile(r"\d{6,}\.jsonl")


@dataclass(frozen=True, slots=True)
class RecordSegment:
    """The records of one commit: the name and the SHA-256 of their file."""

    name: str
    sha256: str


class RecordWriter:
    """An opened output of records: one line for each record among a frame's extras.

    A line is `{"frame": index, "time": seconds, "duration": seconds, ...}` with the record's own
    fields. With `checkpoints` each commit is a durable file, and `resume` is where to continue;
    without, the records are kept in memory until the end. Raises UserError.
    """

    def __init__(self, path: Path, *, overwrite: bool, checkpoints: CheckpointStore | None) -> None:
        if not path.parent.is_dir():
            raise BadSetting(f"the folder {path.parent} does not exist: make it first")
        if path.exists() and not overwrite:
            raise OutputExists(f"{path} exists: choose another output, or pass --overwrite")
        self.path, self._checkpoints = path, checkpoints
        self.dropped = ["images and other streams are left out: records have none"]
        self.resume: Snapshot | None = None
        self._segments: tuple[RecordSegment, ...] = ()
        self._lines: list[bytes] = []
        if checkpoints:
            self._resume(checkpoints)

    def write(self, frames: Sequence[Frame]) -> None:
        """Take the next frames. Raises FilmgateError for a record that is no JSON object."""
        self._lines += format_records(frames)

    def commit(self, snapshot: Snapshot) -> None:
        """Make all records before `snapshot` durable; at the end, the output gets its name."""
        with _translate_errors(self.path):
            if self._checkpoints:
                self._write_segment(self._checkpoints.path)
                self._checkpoints.save(Commit(snapshot, self._segments))
            if snapshot.state is None:
                self._finish()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._lines = []

    def _resume(self, checkpoints: CheckpointStore) -> None:
        def verify(segments: tuple[RecordSegment, ...]) -> None:
            for segment in segments:
                check_segment(checkpoints.path / segment.name, segment)

        commit = checkpoints.choose(verify)
        if commit is not None:
            self._segments, self.resume = commit.pieces, commit.snapshot
        kept = {segment.name for segment in self._segments}
        for path in checkpoints.path.iterdir():
            if _SEGMENT_NAME.fullmatch(path.name) and path.name not in kept and path.is_file():
                path.unlink()

    def _write_segment(self, folder: Path) -> None:
        path = folder / f"{len(self._segments) + 1:06}.jsonl"
        write_atomic(path, *self._lines)
        self._segments += (RecordSegment(path.name, sha256_of(path)),)
        self._lines = []

    def _finish(self) -> None:
        if self._checkpoints is None:
            write_atomic(self.path, *self._lines)
            return
        folder = self._checkpoints.path
        part = folder / f"result{self.path.suffix}"
        with ExitStack() as stack:
            output = stack.enter_context(open(part, "wb"))
            for segment in self._segments:
                shutil.copyfileobj(stack.enter_context(open(folder / segment.name, "rb")), output)
        fsync_file(part)
        fsync_directory(folder)
        self._checkpoints.mark_complete(part)
        replace_durably(part, self.path)


def format_records(frames: Iterable[Frame]) -> Iterator[bytes]:
    """Yield each record of the frames as a line of JSON; fractions become numbers."""
    for frame in frames:
        place = {"frame": frame.index, "time": float(frame.time), "duration": float(frame.duration)}
        records: Any = frame.extras.get("records", ())
        for record in records:
            try:
                line = json.dumps(place | record, default=float, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise FilmgateError(
                    f"a record of frame {frame.index} is {record!r:.60}: wanted a dict of plain, "
                    f"finite values ({error})"
                ) from error
            yield line.encode() + b"\n"


def check_segment(path: Path, segment: RecordSegment) -> None:
    """Raise FilmgateError if the file of a segment is missing or was changed."""
    try:
        sha256 = sha256_of(path)
    except OSError as error:
        raise FilmgateError(f"{path} cannot be read: {error.strerror}") from error
    if sha256 != segment.sha256:
        raise FilmgateError(f"{path} was changed since it was written")


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FilmgateError(
            f"{path} could not be written: {error.strerror}; check the permissions of its folder "
            "and the free space of the disk"
        ) from error
