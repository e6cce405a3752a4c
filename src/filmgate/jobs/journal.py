"""The frames of a slow run since its last commit, so that being stopped costs seconds of work.

An encoder's state cannot be stored: a segment that ends early would change the result. So between
two commits the frames that went to the encoder are stored as they are, and every few seconds the
state of the chain. A later run gives the same frames to a new encoder, and resumes after them.
What stages did before the first frame is stored apart: it stays until the next commit.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from time import monotonic
from typing import BinaryIO, NamedTuple

from filmgate.core import serialization
from filmgate.core.frame import Frame
from filmgate.core.snapshot import Snapshot
from filmgate.errors import FilmgateError
from filmgate.jobs.run_directory import JOURNAL, PREPARED, RunDirectory

FRAMES, PROGRESS = "frames.journal", JOURNAL
INTERVAL_S = 15.0  # between two stored states; a segment that takes less needs none
_MOST_BYTES = 16 << 30  # of frames
_HEAD = struct.Struct("<Q16s")  # bytes of a record and their checksum


class _Progress(NamedTuple):
    """What is stored next to the frames: where the segment began, and where to resume."""

    base: tuple[int, int]  # source frames and commits before the segment
    size_bytes: int  # of the frames so far
    snapshot: Snapshot

    @classmethod
    def read(cls, path: Path) -> _Progress | None:
        """Return what a file holds, None if it is missing or damaged."""
        try:
            data = path.read_bytes()
            if data[:16] != _checksum(data[16:]):
                return None
            base, size, snapshot = serialization.loads(data[16:])
        except (OSError, FilmgateError, TypeError, ValueError):
            return None
        return cls(base, size, snapshot) if isinstance(snapshot, Snapshot) else None

    def encode(self) -> bytes:
        """Return what `read` takes."""
        data = serialization.dumps(tuple(self))
        return _checksum(data) + data


class FrameJournal:
    """A `Journal` in a run's directory. It is only kept while the run is slow.

    A disk that is full ends the journal, not the run.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self.interval_s = INTERVAL_S
        self._directory = directory
        self._frames, self._progress = directory.path / FRAMES, directory.path / PROGRESS
        self._prepared = directory.path / PREPARED
        self._file: BinaryIO | None = None
        self._base, self._start, self._start_s = (0, 0), 0, monotonic()
        self._segment_frames = 1
        self._is_slow = False  # the segment before this one was

    def restore(self, base: Snapshot | None, segment_frames: int) -> Snapshot | None:
        """Begin after the commit `base`; return the later point up to which frames are stored."""
        self._segment_frames = segment_frames
        self._begin(base)
        progress = self._read_progress()
        if progress is None or not self._continues(progress):
            self._open("wb")
            prepared = _Progress.read(self._prepared)
            return prepared.snapshot if prepared and self._follows(prepared) else None
        self._open("r+b")
        if self._file is not None:
            self._file.truncate(progress.size_bytes)
            self._file.seek(progress.size_bytes)
        self._start, self._is_slow = progress.snapshot.cursor.index, True
        return progress.snapshot

    def read_frames(self) -> Iterator[list[Frame]]:
        """Yield the frames up to the restored point."""
        for data in _read_records(self._frames):
            yield list(serialization.loads(data))

    def write(self, frames: Sequence[Frame], read: int) -> None:
        """Store frames that went to the sink; `read`: the source frames before them."""
        if self._file is None:
            return
        try:
            for frame in frames:
                data = serialization.dumps((frame,))
                self._file.write(_HEAD.pack(len(data), _checksum(data)))
                self._file.write(data)
        except OSError:
            self._drop()
            return
        is_fast = False
        if frames and not self._is_slow:  # until frames come out, a clip may wait to be complete
            done = max(1, read - self._start)
            predicted_s = (monotonic() - self._start_s) / done * self._segment_frames
            is_fast = predicted_s < self.interval_s
        if is_fast or self._file.tell() > _MOST_BYTES:
            self._drop()  # the next commit is near, or out of reach

    def save(self, snapshot: Snapshot, *, is_prepared: bool = False) -> bool:
        """Make the frames so far and the state after them durable; return whether they are.

        With `is_prepared` there are no frames: see `core.snapshot.Journal`.
        """
        if is_prepared:
            prepared = _Progress(self._base, 0, snapshot)
            try:
                self._directory.write(PREPARED, prepared.encode())
            except (OSError, FilmgateError):
                return False
            self._start_s = monotonic()
            return True
        if self._file is None:
            return False
        try:
            self._file.flush()
            size = self._file.tell()
            if shutil.disk_usage(self._directory.path).free < size:
                self._drop()  # the result needs the space
                return False
            os.fsync(self._file.fileno())
            progress = _Progress(self._base, size, snapshot)
            self._directory.write(PROGRESS, progress.encode())
        except (OSError, FilmgateError):
            self._drop()
            return False
        return True

    def commit(self, snapshot: Snapshot) -> None:
        """Forget the frames before a commit, which are durable elsewhere now."""
        if self._start == self._base[0]:  # else only a part of the segment was computed here
            self._is_slow = monotonic() - self._start_s >= self.interval_s
        self._drop()
        with suppress(OSError):
            self._prepared.unlink(missing_ok=True)
        self._begin(snapshot)
        if self._is_slow and snapshot.state is not None:
            self._open("wb")

    def close(self) -> None:
        """Close the file; what is stored stays."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None

    def _continues(self, progress: _Progress) -> bool:
        """Whether what is stored is of the segment that begins now."""
        done = progress.snapshot.cursor.index - self._base[0]
        return self._follows(progress) and (done > 0 or progress.snapshot.moves > 0)

    def _follows(self, progress: _Progress) -> bool:
        """Whether a state is after the commit that the run resumes from, and before the next."""
        snapshot = progress.snapshot
        return (
            progress.base == self._base
            and snapshot.segment == self._base[1]
            and snapshot.state is not None
            and 0 <= snapshot.cursor.index - self._base[0] < self._segment_frames
        )

    def _begin(self, base: Snapshot | None) -> None:
        self._base = (base.cursor.index, base.segment) if base else (0, 0)
        self._start, self._start_s = self._base[0], monotonic()

    def _open(self, mode: str) -> None:
        with suppress(OSError):
            self._file = open(self._frames, mode)  # type: ignore[assignment]  # noqa: SIM115

    def _drop(self) -> None:
        self.close()
        for path in (self._progress, self._frames):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _read_progress(self) -> _Progress | None:
        """Return what is stored, None if it is damaged or nothing is."""
        progress = _Progress.read(self._progress)
        if progress is None:
            return None
        try:
            records = _read_records(self._frames, progress.size_bytes)
            is_complete = sum(_HEAD.size + len(data) for data in records) == progress.size_bytes
        except (OSError, TypeError):
            return None
        return progress if is_complete else None


def has_journal(directory: RunDirectory) -> bool:
    """Whether a run in the directory stored frames, or work before them, after its last commit."""
    return any((directory.path / name).exists() for name in (PROGRESS, PREPARED))


def _read_records(path: Path, size: int | None = None) -> Iterator[bytes]:
    """Yield the records in the first `size` bytes of a file, up to one that is damaged."""
    left = path.stat().st_size
    left = left if size is None else min(left, size)
    with path.open("rb") as file:
        while left >= _HEAD.size:
            length, checksum = _HEAD.unpack(file.read(_HEAD.size))
            left -= _HEAD.size + length
            data = file.read(length) if left >= 0 else b""
            if len(data) < length or _checksum(data) != checksum:
                return
            yield data


def _checksum(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()
