"""The directory of a run, next to its result: what must survive the process, and its lock."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from threading import Event
from typing import Any

from filmgate.backends.spawn import WORKER
from filmgate.errors import FULL_DISK, BadSetting, Busy, DiskFull, FilmgateError
from filmgate.media.images.numbering import compile_number_pattern
from filmgate.storage.atomic import append_suffix, write_atomic
from filmgate.storage.file_lock import is_same_file, try_lock

SUFFIX = ".filmgate"
COMMITS = "commits.json"  # the list of commits that count
JOURNAL = "progress.journal"  # where to resume between two commits
PREPARED = "prepared.journal"  # what was done before the first frame after a commit
MAX_SNAPSHOTS = 2  # the latest, and the one before it in case that is damaged
MAX_MESSAGES, MAX_MESSAGE = 200, 2000  # about what a result lacks; characters of one
MAX_JSON_BYTES = 16 << 20
MAX_JOB_BYTES = 64 << 20  # which names each image that a run reads: 200,000 and more
MAX_JSON_DEPTH = 32
# Every name that a run gives to a file here. Nothing else is ever opened for writing or deleted.
_OWN_NAMES = re.compile(
    r"lock|events\.jsonl|(job|plan|commits)\.json|(frames|progress|prepared)\.journal|\d{6,}\.snapshot|\.filmgate-[0-9a-f]{8}\.new"
    r"|\.?\d{6,}\.(nut|mov|jsonl?|parquet|txt|pkl|html|png|jpe?g|webp|tiff?)|(result|playable)\.\w+|\.playable\.[0-9a-f]{8}\.part\.\w+"
)
_DELETES_OPEN_FILES = sys.platform != "win32"  # which the lock is while a run works here
_LOOKS, _LOOK_S = 5, 0.02  # how often a directory that is not a run's is looked at again
_HOLDER = b"process "  # what the text of a lock begins with


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The directory of one run; every file in it is complete or absent."""

    path: Path
    # What `remove` leaves to the end of `lock`, where no open file can be deleted.
    _leftovers: list[Path] = field(default_factory=list, compare=False, repr=False)

    @classmethod
    def for_result(cls, result: Path) -> RunDirectory:
        """Return the directory, OUT.filmgate, of the run that makes `result`.

        Of images it is next to their folder: frames.filmgate, also for frames/%06d.png. A long
        name is cut.
        """
        if compile_number_pattern(result.name):
            result = result.parent
        if result.name in ("", ".."):
            result = result.resolve()
        return cls(append_suffix(result, SUFFIX))

    @property
    def has_progress(self) -> bool:
        """Whether there is something that a run can resume from."""
        return any((self.path / name).exists() for name in (COMMITS, JOURNAL, PREPARED))

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Lock the directory while the `with` lasts; the lock ends with its process.

        Yields whether the directory is new. Raises Busy, with the process that holds it;
        BadSetting if it cannot be created, or holds files that no run wrote; DiskFull.
        """
        try:
            created = _create(self.path)
            foreign = self.find_foreign_files()
            for _ in range(_LOOKS if foreign else 0):  # a run may start or end at this moment
                if holder := self.read_holder():
                    raise self._explain_busy(holder)
                Event().wait(_LOOK_S)
                if not (foreign := self.find_foreign_files()):
                    break
            if foreign:
                raise BadSetting(
                    f"{self.path} is not the folder of a run: it holds {foreign}. Nothing in it "
                    "was changed. Pass a new or an empty folder to --work"
                )
            lock = (self.path / "lock").open("ab+", buffering=0)
        except FileNotFoundError as error:
            if self.path.parent.is_dir():
                raise self._explain_end() from error
            raise BadSetting(
                f"cannot create the folder {self.path}: {self.path.parent} does not exist. Create "
                "it first, or pass another folder with --work"
            ) from error
        except OSError as error:
            if error.errno in FULL_DISK:
                raise DiskFull.of(self.path.parent, error) from error
            raise BadSetting(
                f"cannot write to the folder {self.path}: {error.strerror}. Pass another folder to "
                "--work"
            ) from error
        try:
            with lock:
                self._take(lock)
                yield created
        finally:
            leftovers = tuple(self._leftovers)
            self._leftovers.clear()
            with suppress(OSError):  # another process has opened the lock since, and keeps it
                for path in leftovers:
                    path.rmdir() if path == self.path else path.unlink()

    def _take(self, lock: FileIO) -> None:
        """Lock the open file and write this process into it. Raises Busy."""
        if not try_lock(lock.fileno()):
            lock.seek(0)
            raise self._explain_busy(_decode_holder(lock.read(1000)))
        if not is_same_file(lock.fileno(), self.path / "lock"):
            raise self._explain_end()
        lock.truncate(0)
        with suppress(OSError):  # on a full disk the lock has no name in it, but it is held
            lock.write(f"process {_find_stoppable_process()} on {socket.gethostname()}".encode())

    def _explain_busy(self, holder: str) -> Busy:
        return Busy(f"{self.path} is in use by {holder}: wait for it, or stop it")

    def _explain_end(self) -> Busy:
        return Busy(f"another process just finished {self.path}: look at its result")

    def find_foreign_files(self) -> str:
        """Return names of files here that no run wrote, if they make it another directory.

        Empty: the directory is empty or a run's. A run's may hold files of the user as well. Links
        under our names are foreign: writing or deleting would follow them.
        """
        own, others = set[str](), list[str]()
        for name in sorted(os.listdir(self.path)):
            if not is_own_name(name):
                others.append(name)
                continue
            with suppress(FileNotFoundError):  # the run that works here deleted it
                if not stat.S_ISREG(os.lstat(self.path / name).st_mode):
                    return f"{name}, which is no regular file"
                own.add(name)
        if "lock" in own and not _is_lock(_read_start(self.path / "lock")):
            return "lock, which no run wrote"
        if ("job.json" in own and self._has_job()) or ("lock" in own and not others):
            return ""
        names = [*others, *sorted(own)]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")

    @property
    def is_run(self) -> bool:
        """Whether the directory is that of a run, however damaged."""
        return self.path.is_dir() and bool(os.listdir(self.path)) and not self.find_foreign_files()

    def read_holder(self) -> str:
        """Return the process that holds the lock, "" if none does."""
        try:
            with (self.path / "lock").open("r", encoding="utf-8", errors="replace") as lock:
                return "" if try_lock(lock.fileno()) else lock.read().strip() or "another process"
        except OSError:
            return ""

    def measure_bytes(self) -> int:
        """Return the size of all files in the directory together."""
        total = 0
        for entry in os.scandir(self.path):
            with suppress(OSError):  # deleted by the run that works on it
                total += entry.stat(follow_symlinks=False).st_size
        return total

    def write(self, name: str, data: bytes) -> None:
        """Write a file so that it is complete or absent, and durable. Raises DiskFull."""
        try:
            write_atomic(self.path / name, data)
        except OSError as error:
            self.check_exists()
            raise DiskFull.of(self.path, error) from error

    def check_exists(self) -> None:
        """Raise FilmgateError if the directory was removed while the run works in it."""
        if not self.path.is_dir():
            raise FilmgateError(
                f"{self.path} was removed while the run worked in it, with everything that was "
                "done: run the same command again, and leave the folder until it is complete"
            )

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, None if it does not exist."""
        with suppress(FileNotFoundError):
            return (self.path / name).read_bytes()
        return None

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the object in a JSON file; {} if it does not exist or is no such file.

        Files that no run writes are refused: larger than 16 MiB (job.json: 64), nested deeper than
        32 values, or with numbers that JSON does not have.
        """
        with suppress(OSError, ValueError, RecursionError):
            path = self.path / name
            if path.stat().st_size <= (MAX_JOB_BYTES if name == "job.json" else MAX_JSON_BYTES):
                value = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
                return value if isinstance(value, dict) and _is_shallow(value) else {}
        return {}

    def clear(self) -> None:
        """Delete what the run wrote, except the lock and job.json.

        What says where to resume goes first: a run that finds the rest of the directory starts
        again. job.json stays, because it marks the directory as a run's.
        """
        for name in (JOURNAL, COMMITS):
            self._delete(name)
        for name in sorted(os.listdir(self.path)):
            if name not in ("lock", "job.json"):
                self._delete(name)

    def remove(self) -> None:
        """Delete what the run wrote, and the directory if it was created for the run.

        Files that say that the result is complete go last; the list of commits goes before the
        snapshots in it. Files of the user stay. Where an open file cannot be deleted, `lock` does
        the rest at its end.
        """
        if not self.path.is_dir():
            return
        is_given = self._has_job() and self.read_json("job.json").get("given")
        names = sorted(os.listdir(self.path))
        snapshots = [name for name in names if name.endswith(".snapshot")]
        last = (COMMITS, *snapshots, "plan.json", "job.json", "lock")
        for name in (*(name for name in names if name not in last), *last):
            if name != "lock" or _DELETES_OPEN_FILES:
                self._delete(name)
        if not _DELETES_OPEN_FILES:
            self._leftovers[:] = [self.path / "lock", *([] if is_given else [self.path])]
        elif not is_given:
            with suppress(OSError):  # it holds files of the user
                self.path.rmdir()

    def _has_job(self) -> bool:
        return {"job", "limits", "versions"} <= self.read_json("job.json").keys()

    def _delete(self, name: str) -> None:
        path = self.path / name
        if is_own_name(name) and _is_file(path):
            os.unlink(path)


def is_own_name(name: str) -> bool:
    """Return whether a run gives this name to a file in its directory."""
    return bool(_OWN_NAMES.fullmatch(name))


def _is_shallow(value: object, depth: int = MAX_JSON_DEPTH) -> bool:
    """Return whether no value of a JSON file is nested deeper than `depth`."""
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_shallow(item, depth - 1) for item in inner)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _read_start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1000)


def _is_lock(start: bytes) -> bool:
    """Return whether a run wrote it; a power cut leaves its beginning, or zeros."""
    text = start.rstrip(b"\0")
    return _HOLDER.startswith(text) or re.match(_HOLDER + rb"\d", text) is not None


def _decode_holder(text: bytes) -> str:
    return text.decode(errors="replace").strip() or "another process"


def _find_stoppable_process() -> int | None:
    """Return the process that stops the run when it is stopped: a worker's parent, or this one."""
    from multiprocessing import current_process, parent_process

    parent = parent_process()
    return parent.pid if parent and current_process().name == WORKER else os.getpid()


def _create(folder: Path) -> bool:
    """Create the folder and return True, False if it exists. Raises OSError."""
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            with suppress(FileNotFoundError):  # a run has just removed it
                if stat.S_ISDIR(os.stat(folder).st_mode):
                    return False
                raise
            if os.path.islink(folder):  # to nothing
                raise
            continue
        return True


def _is_file(path: Path) -> bool:
    """Return whether a regular file, not a link to one, has this name."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
