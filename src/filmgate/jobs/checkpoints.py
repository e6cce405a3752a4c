"""The commits of a run on disk: snapshots with checksums, and the list of those that count."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any

from filmgate.core import serialization
from filmgate.core.events import Done
from filmgate.core.instrumentation.fault_injection import inject_fault
from filmgate.core.snapshot import Commit
from filmgate.core.values import iter_leaves
from filmgate.errors import BadSetting, FilmgateError
from filmgate.jobs.inputs import InputWatch
from filmgate.jobs.run_directory import (
    COMMITS,
    MAX_JSON_BYTES,
    MAX_MESSAGE,
    MAX_MESSAGES,
    MAX_SNAPSHOTS,
    RunDirectory,
    is_own_name,
)
from filmgate.jobs.stored_run import explain_damage
from filmgate.storage.fingerprint import sample_fingerprint, sha256_of

_MAX_SNAPSHOT_BYTES = 4 << 30
_MAX_COUNT = 1 << 62  # of any number that describes a commit


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
    """The file that is the complete result of an output, and what identifies its content."""

    output: int
    name: str
    fingerprint: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _CommitList:
    """The content of commits.json, the latest snapshot first."""

    snapshots: tuple[_Entry, ...] = ()
    complete: tuple[CompleteResult, ...] = ()  # of all outputs, or of none
    dropped: tuple[str, ...] = ()  # what the complete results lack
    is_complete: bool = True  # as `Done` reports it


@dataclass(frozen=True, slots=True)
class Completion:
    """A run of which every result is complete, and what it reports at its end."""

    results: tuple[CompleteResult, ...]
    dropped: tuple[str, ...]
    done: Done


@dataclass
class Checkpoints:
    """The commits in a run's directory (a CheckpointStore), each durable before it counts."""

    directory: RunDirectory
    playable: bool = False
    outputs: int | None = None  # whose files each commit describes, if that is known
    inputs: InputWatch | None = None  # files that must not change until the result is complete
    warnings: list[str] = field(default_factory=list)  # damage that `choose` found
    _list: _CommitList | None = None  # as this process wrote it; it holds the lock

    @property
    def path(self) -> Path:
        """The folder for segments, and for results until they get their names."""
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
        """Return the latest commit that is intact; None: nothing was committed.

        `verify` raises FilmgateError if a file of a commit is damaged. Damage is added to
        `warnings`. Raises BadSetting if no commit is intact.
        """
        damage: list[str] = []
        for entry in self._read_list().snapshots:
            try:
                commit = self._load(entry)
                verify(commit.pieces)
            except FilmgateError as error:
                damage.append(str(error))
            except (AttributeError, TypeError, ValueError, LookupError):  # of another output
                damage.append(f"{self.path / entry.name} describes other files")
            else:
                self.warnings += [f"{text}: resuming from the commit before it" for text in damage]
                return commit
        if damage:
            raise BadSetting(
                f"no commit in {self.path} is intact: {'; '.join(damage)}. Run the same command "
                "with --restart to start again"
            )
        return None

    def check(self) -> None:
        """Raise BadSetting if the list of commits is damaged, or another version wrote it."""
        if self._list is None and _parse_list(self.path / COMMITS) is None:
            raise explain_damage(self.directory, COMMITS)

    def commits(self) -> Iterator[Commit]:
        """Yield the commits whose snapshots are intact, the latest first."""
        for entry in self._read_list().snapshots:
            with suppress(FilmgateError):
                yield self._load(entry)

    def save(self, commit: Commit) -> None:
        """Store a commit durably. Its files must be durable already.

        Raises DiskFull; BadInput if an input was changed, which this commit may contain.
        """
        if self.inputs:
            self.inputs.check(ended=commit.snapshot.state is None)
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

    def mark_complete(
        self, parts: Sequence[Path | None], dropped: Sequence[str], *, is_complete: bool
    ) -> None:
        """Record the hidden files that are the complete, durable results, by output.

        `dropped` and `is_complete` are what the run reports of them. Raises BadInput if an input
        was changed: other streams are copied from it at the end.
        """
        if self.inputs:
            self.inputs.check()
        complete = tuple(
            CompleteResult(output=k, name=part.name, fingerprint=sample_fingerprint(part))
            for k, part in enumerate(parts)
            if part is not None
        )
        if complete:
            messages = tuple(message[:MAX_MESSAGE] for message in dropped[:MAX_MESSAGES])
            self._write_list(replace(self._read_list(), complete=complete, dropped=messages,
                                     is_complete=is_complete))  # fmt: skip
            inject_fault("join.complete")

    def read_completion(self) -> Completion | None:
        """Return the recorded results and what is reported of them; None if there are none."""
        commits = self._read_list()
        if not (commits.complete and commits.snapshots):
            return None
        last = commits.snapshots[0]
        done = Done(last.frames, last.written, 0.0, {}, last.concealed, commits.is_complete)
        return Completion(commits.complete, commits.dropped, done)

    def _load(self, entry: _Entry) -> Commit:
        """Return a commit. Raises FilmgateError if its snapshot is damaged."""
        path = self.path / entry.name
        try:
            if path.stat().st_size <= _MAX_SNAPSHOT_BYTES and sha256_of(path) == entry.sha256:
                commit = serialization.loads(path.read_bytes())
                if isinstance(commit, Commit) and _is_valid(commit, entry, self.outputs):
                    return commit
        except FilmgateError as error:
            raise FilmgateError(f"{path} is damaged: {error}") from error
        except OSError as error:
            raise FilmgateError(f"{path} cannot be read: {error.strerror}") from error
        raise FilmgateError(f"{path} is damaged")

    def _read_list(self) -> _CommitList:
        """Return the list on disk; a damaged one counts as empty."""
        if self._list is not None:
            return self._list
        return _parse_list(self.path / COMMITS) or _CommitList()

    def _write_list(self, commits: _CommitList) -> None:
        self.directory.write(COMMITS, json.dumps(asdict(commits), indent=1).encode())
        self._list = commits


def _is_valid(commit: Commit, entry: _Entry, outputs: int | None) -> bool:
    """Whether a commit is the one in the list, and names only files of the run's directory."""
    snapshot = commit.snapshot
    described = (replace(snapshot, state=None), commit.pieces)
    numbers = [leaf for leaf in iter_leaves(described) if isinstance(leaf, int)]
    names = [piece.name for piece in _iter_dataclasses(commit.pieces) if hasattr(piece, "name")]
    return (
        (snapshot.cursor.index, snapshot.written) == (entry.frames, entry.written)
        and snapshot.segment >= 0
        and outputs in (None, len(commit.pieces))
        and all(abs(number) < _MAX_COUNT for number in numbers)
        and all(isinstance(name, str) and is_own_name(name) for name in names)
    )


def _iter_dataclasses(value: object) -> Iterator[Any]:
    """Yield every dataclass in a plain value."""
    if isinstance(value, tuple):
        for item in value:
            yield from _iter_dataclasses(item)
    elif is_dataclass(value):
        yield value


def _parse_list(path: Path) -> _CommitList | None:
    """Return the list in a file: empty if there is no file, None if no run wrote it."""
    try:
        data = path.read_bytes() if path.stat().st_size <= MAX_JSON_BYTES else b""
    except FileNotFoundError:
        return _CommitList()
    from pydantic import ValidationError

    from filmgate.jobs.schemas import StoredCommits

    try:
        stored = StoredCommits.model_validate_json(data)
    except ValidationError:
        return None
    return _CommitList(
        snapshots=tuple(_Entry(**one.model_dump()) for one in stored.snapshots),
        complete=tuple(CompleteResult(**one.model_dump()) for one in stored.complete),
        dropped=tuple(stored.dropped),
        is_complete=stored.is_complete,
    )
