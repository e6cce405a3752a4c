"""The commits of a run on disk: snapshots with checksums, and the list of those that count."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filmgate.core import serialization
from filmgate.core.events import Done
from filmgate.core.instrumentation.fault_injection import inject_fault
from filmgate.core.snapshot import Commit
from filmgate.errors import FilmgateError
from filmgate.jobs.run_directory import COMMITS, MAX_SNAPSHOTS, RunDirectory
from filmgate.storage.fingerprint import sample_fingerprint


@dataclass(frozen=True, slots=True)
class _Entry:
    """One snapshot in the list; `frames` are the source's, `written` the result's."""

    name: str
    sha256: str
    frames: int
    written: int
    concealed: int


@dataclass(frozen=True, slots=True)
class CompleteResult:
    """The file that is the complete result, and what identifies its content."""

    name: str
    fingerprint: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _CommitList:
    """The content of commits.json, the latest snapshot first."""

    snapshots: tuple[_Entry, ...] = ()
    complete: CompleteResult | None = None


@dataclass
class Checkpoints:
    """The commits in a run's directory (a CheckpointStore), each durable before it counts."""

    directory: RunDirectory
    playable: bool = False
    warnings: list[str] = field(default_factory=list)  # damage that `choose` found
    _list: _CommitList | None = None  # as this process wrote it; it holds the lock

    @property
    def path(self) -> Path:
        """The folder for segments, and for the result until it gets its final name."""
        return self.directory.path

    @property
    def has_commits(self) -> bool:
        """Whether anything was committed."""
        return bool(self._read_list().snapshots)

    @property
    def frames(self) -> int:
        """The source frames before the latest commit; its snapshot is not opened."""
        latest = self._read_list().snapshots[:1]
        return latest[0].frames if latest else 0

    def choose(self, verify: Callable[[tuple[Any, ...]], None]) -> Commit | None:
        """Return the latest commit that is intact; None: start at the beginning.

        `verify` raises FilmgateError if a file of a commit is damaged. Damage is added to
        `warnings`.
        """
        for entry in self._read_list().snapshots:
            try:
                commit = self._load(entry)
                verify(commit.pieces)
            except FilmgateError as error:
                self.warnings.append(f"{error}: resuming from the commit before it")
            else:
                return commit
        return None

    def commits(self) -> Iterator[Commit]:
        """Yield the commits whose snapshots are intact, the latest first."""
        for entry in self._read_list().snapshots:
            with suppress(FilmgateError):
                yield self._load(entry)

    def save(self, commit: Commit) -> None:
        """Store a commit durably. Its files must be durable already. Raises DiskFull."""
        name = f"{commit.snapshot.segment:06}.snapshot"
        data = serialization.dumps(commit)
        self.directory.write(name, data)
        inject_fault("commit.snapshot")
        entry = _Entry(
            name=name,
            sha256=hashlib.sha256(data).hexdigest(),
            frames=commit.snapshot.cursor.index,
            written=commit.snapshot.written,
            concealed=commit.snapshot.concealed,
        )
        earlier = [one for one in self._read_list().snapshots if one.frames < entry.frames]
        snapshots = (entry, *earlier)[:MAX_SNAPSHOTS]
        self._write_list(_CommitList(snapshots=snapshots))
        inject_fault("commit.listed")
        listed = {one.name for one in snapshots}
        for file in self.path.glob("*.snapshot"):
            if file.stem.isdecimal() and file.name not in listed:
                file.unlink()

    def mark_complete(self, part: Path) -> None:
        """Record that `part` is the complete, durable result and only needs its final name."""
        complete = CompleteResult(name=part.name, fingerprint=sample_fingerprint(part))
        self._write_list(replace(self._read_list(), complete=complete))
        inject_fault("join.complete")

    def read_complete(self) -> tuple[CompleteResult, Done] | None:
        """Return the recorded result and the event that reports it; None if there is none."""
        commits = self._read_list()
        if commits.complete is None or not commits.snapshots:
            return None
        last = commits.snapshots[0]
        return commits.complete, Done(last.frames, last.written, 0.0, {}, last.concealed)

    def _load(self, entry: _Entry) -> Commit:
        """Return a commit. Raises FilmgateError if its snapshot is damaged."""
        data = self.directory.read(entry.name) or b""
        if hashlib.sha256(data).hexdigest() == entry.sha256:
            commit = serialization.loads(data)
            if isinstance(commit, Commit):
                return commit
        raise FilmgateError(f"{self.path / entry.name} is damaged")

    def _read_list(self) -> _CommitList:
        """Return the list on disk; a damaged one counts as empty."""
        if self._list is not None:
            return self._list
        data = self.directory.read(COMMITS)
        return _parse_list(data) if data else _CommitList()

    def _write_list(self, commits: _CommitList) -> None:
        self.directory.write(COMMITS, json.dumps(asdict(commits), indent=1).encode())
        self._list = commits


def _parse_list(data: bytes) -> _CommitList:
    from pydantic import ValidationError

    from filmgate.jobs.schemas import StoredCommits

    try:
        stored = StoredCommits.model_validate_json(data)
    except ValidationError:
        return _CommitList()
    complete = CompleteResult(**stored.complete.model_dump()) if stored.complete else None
    return _CommitList(tuple(_Entry(**one.model_dump()) for one in stored.snapshots), complete)
