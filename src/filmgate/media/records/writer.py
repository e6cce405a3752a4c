"""Write the records that frames carry to a file, in segments that survive the process."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from filmgate.core.frame import Frame
from filmgate.core.job import FileSink
from filmgate.core.snapshot import CheckpointStore, Commit
from filmgate.errors import BadSetting, FilmgateError, OutputExists
from filmgate.media.records.record_format import RecordFormat, SegmentEncoder
from filmgate.storage.atomic import fsync_directory, fsync_file, name_hidden, replace_durably
from filmgate.storage.file_kind import check_output_file
from filmgate.storage.fingerprint import sha256_of


@dataclass(frozen=True, slots=True)
class RecordSegment:
    """The records of one commit: the name and the SHA-256 of their file."""

    name: str
    sha256: str


class RecordWriter(FileSink):
    """An opened output of records: what `format` makes of the records among a frame's extras.

    They go to a hidden file as they come. With `checkpoints` each `save` makes it a durable
    segment; segments have the suffix of `path`. Raises UserError.
    """

    def __init__(
        self,
        path: Path,
        format: RecordFormat,
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
        self.path, self._format, self._checkpoints = path, format, checkpoints
        self.dropped: Sequence[str] = ()
        self._suffix = path.suffix.lower()
        self._segments: tuple[RecordSegment, ...] = ()
        token = run_name or token_hex(4)
        self._part = name_hidden(path, token, self._suffix)
        self._joined = name_hidden(path, token, f".joined{self._suffix}")
        if checkpoints:
            self._part = checkpoints.path / f".000000{self._suffix}"
            self._joined = checkpoints.path / f"result{self._suffix}"
        self._open: tuple[BinaryIO, SegmentEncoder] | None = None

    def write(self, frames: Sequence[Frame]) -> None:
        """Take the next frames. Raises FilmgateError for a record that cannot be written."""
        with _translate_errors(self.path):
            if self._open is None:
                file = self._part.open("wb")
                self._open = file, self._format.start(file)
            self._open[1].write(frames)

    def save(self) -> tuple[RecordSegment, ...]:
        """Make the records since the last call a segment; return all of them."""
        if self._checkpoints is None:
            return ()
        self._end_segment()
        with _translate_errors(self.path):
            path = self._checkpoints.path / f"{len(self._segments) + 1:06}{self._suffix}"
            segment = RecordSegment(path.name, sha256_of(self._part))
            replace_durably(self._part, path)
        self._segments += (segment,)
        return self._segments

    def complete(self) -> Path:
        """Put all records into one durable file."""
        folder = self._joined.parent
        if self._checkpoints is None:
            self._end_segment()
        with _translate_errors(self.path):
            paths = [folder / segment.name for segment in self._segments] or [self._part]
            with open(self._joined, "wb") as output:
                self._format.join(paths, output)
            fsync_file(self._joined)
            fsync_directory(folder)
        return self._joined

    def publish(self) -> None:
        """Give the complete file its name."""
        with _translate_errors(self.path):
            replace_durably(self._joined, self.path)

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._close_file()
        if self._checkpoints is None:
            self._part.unlink(missing_ok=True)
            self._joined.unlink(missing_ok=True)

    def _end_segment(self) -> None:
        """Complete the file of the current segment; without a frame it is that of no records."""
        self.write(())
        assert self._open is not None
        with _translate_errors(self.path):
            self._open[1].close()
        self._close_file()

    def _close_file(self) -> None:
        if self._open is not None:
            self._open[1].abandon()
            self._open[0].close()
            self._open = None

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
        own = re.compile(rf"\.?\d{{6,}}{re.escape(self._suffix)}")
        for path in self._checkpoints.path.iterdir():
            if own.fullmatch(path.name) and path.name not in kept and path.is_file():
                path.unlink()


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
