"""Write the records that frames carry as JSON Lines, in segments that survive the process."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

from filmgate.core.frame import Frame
from filmgate.core.job import FileSink
from filmgate.core.snapshot import CheckpointStore, Commit
from filmgate.errors import BadSetting, FilmgateError, OutputExists
from filmgate.storage.atomic import fsync_directory, fsync_file, name_hidden, replace_durably
from filmgate.storage.file_kind import check_output_file
from filmgate.storage.fingerprint import sha256_of

_SEGMENT_NAME = re.compile(r"\.?\d{6,}\.jsonl")
_PART_NAME = ".000000.jsonl"


@dataclass(frozen=True, slots=True)
class RecordSegment:
    """The records of one commit: the name and the SHA-256 of their file."""

    name: str
    sha256: str


class RecordWriter(FileSink):
    """An opened output of records: one line for each record among a frame's extras.

    A line is `{"frame": index, "time": seconds, "duration": seconds, ...}` with the record's own
    fields. Lines go to a hidden file as they come. With `checkpoints` each `save` makes it a
    durable segment. Raises UserError.
    """

    def __init__(
        self,
        path: Path,
        *,
        overwrite: bool,
        checkpoints: CheckpointStore | None,
        run_name: str = "",
    ) -> None:
        if not path.parent.is_dir():
            raise BadSetting(f"the folder {path.parent} does not exist: make it first")
        check_output_file(path)
        if os.path.lexists(path) and not overwrite:
            raise OutputExists(f"{path} exists: choose another output, or pass --overwrite")
        self.path, self._checkpoints = path, checkpoints
        self.dropped: Sequence[str] = ()
        self._segments: tuple[RecordSegment, ...] = ()
        self._part = name_hidden(path, run_name or token_hex(4), ".jsonl")
        if checkpoints:
            self._part = checkpoints.path / _PART_NAME
        self._file: BinaryIO | None = None

    def write(self, frames: Sequence[Frame]) -> None:
        """Take the next frames. Raises FilmgateError for a record that is no JSON object."""
        with _translate_errors(self.path):
            if self._file is None:
                self._file = self._part.open("wb")
            self._file.writelines(format_records(frames))

    def save(self) -> tuple[RecordSegment, ...]:
        """Make the records since the last call a segment; return all of them."""
        if self._checkpoints is None:
            return ()
        self.write(())
        self._close()
        with _translate_errors(self.path):
            path = self._checkpoints.path / f"{len(self._segments) + 1:06}.jsonl"
            segment = RecordSegment(path.name, sha256_of(self._part))
            replace_durably(self._part, path)
        self._segments += (segment,)
        return self._segments

    def complete(self) -> Path:
        """Put all records into one durable file."""
        with _translate_errors(self.path):
            if self._checkpoints is None:
                self.write(())
                self._close()
                fsync_file(self._part)
            else:
                self._part = self._join(self._checkpoints.path)
        return self._part

    def publish(self) -> None:
        """Give the complete file its name."""
        with _translate_errors(self.path):
            replace_durably(self._part, self.path)

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()
        if self._checkpoints is None:
            self._part.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def verify(self, pieces: tuple[RecordSegment, ...]) -> None:
        """Raise FilmgateError if the file of a segment is damaged."""
        assert self._checkpoints is not None
        for segment in pieces:
            check_segment(self._checkpoints.path / segment.name, segment)

    def resume(self, commit: Commit | None, commits: Sequence[Commit]) -> None:
        """Continue after `commit`; delete the segments after it."""
        assert self._checkpoints is not None
        if commit is not None:
            self._segments = commit.pieces
        kept = {segment.name for segment in self._segments}
        for path in self._checkpoints.path.iterdir():
            if _SEGMENT_NAME.fullmatch(path.name) and path.name not in kept and path.is_file():
                path.unlink()

    def _join(self, folder: Path) -> Path:
        """Return the complete output as one durable file in the run's directory."""
        part = folder / "result.jsonl"
        with open(part, "wb") as output:
            for segment in self._segments:
                with open(folder / segment.name, "rb") as file:
                    shutil.copyfileobj(file, output)
        fsync_file(part)
        fsync_directory(folder)
        return part


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
