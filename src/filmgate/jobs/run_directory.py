"""The directory of a run, next to its result: what must survive the process, and its lock."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filmgate.errors import BadSetting, Busy, DiskFull
from filmgate.media.images.numbering import compile_number_pattern
from filmgate.storage.atomic import write_atomic
from filmgate.storage.file_lock import is_same_file, try_lock

SUFFIX = ".filmgate"
COMMITS = "commits.json"  # the list of commits that count
MAX_SNAPSHOTS = 2  # the latest, and the one before it in case that is damaged
MAX_JSON_BYTES = 16 << 20
# Every name that a run gives to a file here. Nothing else is ever opened for writing or deleted.
_OWN_NAMES = re.compile(
    r"lock|events\.jsonl|(job|plan|commits)\.json|\d{6,}\.snapshot|\.filmgate-[0-9a-f]{8}\.new"
    r"|\.?\d{6,}\.(nut|mov|jsonl|png|jpe?g|webp|tiff?)|(result|playable)\.\w+|\.playable\.[0-9a-f]{8}\.part\.\w+"
)
_HOLDER = re.compile(rb"(process \d+ on .*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The directory of one run; every file in it is complete or absent."""

    path: Path

    @classmethod
    def for_result(cls, result: Path) -> RunDirectory:
        """Return the directory, OUT.filmgate, of the run that makes `result`.

        Of images it is next to their folder: frames.filmgate, also for frames/%06d.png.
        """
        if compile_number_pattern(result.name):
            result = result.parent
        if result.name in ("", ".."):
            result = result.resolve()
        return cls(result.with_name(result.name + SUFFIX))

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Lock the directory while the `with` lasts; the lock ends with its process.

        Yields whether the directory is new. Raises Busy, with the process that holds it;
        BadSetting if it cannot be created, or holds files that no run wrote.
        """
        try:
            created = _create(self.path)
            if foreign := self.find_foreign_files():
                raise BadSetting(
                    f"{self.path} is not the folder of a run: it holds {foreign}. Nothing in it "
                    "was changed. Pass a new or an empty folder to --work"
                )
            lock = (self.path / "lock").open("ab+", buffering=0)
        except OSError as error:
            raise BadSetting(
                f"cannot write to the folder {self.path}: {error.strerror}. Pass another folder to "
                "--work"
            ) from error
        with lock:
            if not try_lock(lock.fileno()):
                lock.seek(0)
                raise Busy(
                    f"{self.path} is in use by {lock.read().decode() or 'another process'}: wait "
                    "for it, or stop it"
                )
            if not is_same_file(lock.fileno(), self.path / "lock"):
                raise Busy(f"another process just finished {self.path}: look at its result")
            lock.truncate(0)
            with suppress(OSError):  # on a full disk the lock has no name in it, but it is held
                lock.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
            yield created

    def find_foreign_files(self) -> str:
        """Return names of files here that no run wrote, if they make it another directory.

        Empty: the directory is empty or a run's. A run's may hold files of the user as well. Links
        under our names are foreign: writing or deleting would follow them.
        """
        own, others = set[str](), list[str]()
        for name in sorted(os.listdir(self.path)):
            if not _OWN_NAMES.fullmatch(name):
                others.append(name)
            elif _is_file(self.path / name):
                own.add(name)
            else:
                return f"{name}, which is no regular file"
        if "lock" in own and not _HOLDER.fullmatch((self.path / "lock").read_bytes()[:1000]):
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
            with (self.path / "lock").open("r", encoding="utf-8") as lock:
                return "" if try_lock(lock.fileno()) else lock.read().strip() or "another process"
        except OSError:
            return ""

    def write(self, name: str, data: bytes) -> None:
        """Write a file so that it is complete or absent, and durable. Raises DiskFull."""
        try:
            write_atomic(self.path / name, data)
        except OSError as error:
            raise DiskFull.of(self.path, error) from error

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, None if it does not exist."""
        with suppress(FileNotFoundError):
            return (self.path / name).read_bytes()
        return None

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the object in a JSON file; {} if it does not exist or is no such file."""
        with suppress(OSError, ValueError, RecursionError):
            path = self.path / name
            if path.stat().st_size <= MAX_JSON_BYTES:
                value = json.loads(path.read_bytes())
                return value if isinstance(value, dict) else {}
        return {}

    def clear(self) -> None:
        """Delete what the run wrote, except the lock and job.json.

        The list of commits goes first: a run that finds the rest of the directory starts again.
        job.json stays, because it marks the directory as a run's.
        """
        self._delete(COMMITS)
        for name in sorted(os.listdir(self.path)):
            if name not in ("lock", "job.json"):
                self._delete(name)

    def remove(self) -> None:
        """Delete what the run wrote, and the directory if it was created for the run.

        Files that say that the result is complete go last. Files of the user stay.
        """
        is_given = self._has_job() and self.read_json("job.json").get("given")
        last = (COMMITS, "plan.json", "job.json", "lock")
        names = [name for name in sorted(os.listdir(self.path)) if name not in last]
        for name in (*names, *last):
            self._delete(name)
        if not is_given:
            with suppress(OSError):  # it holds files of the user
                self.path.rmdir()

    def _has_job(self) -> bool:
        return {"job", "limits", "versions"} <= self.read_json("job.json").keys()

    def _delete(self, name: str) -> None:
        path = self.path / name
        if _OWN_NAMES.fullmatch(name) and _is_file(path):
            os.unlink(path)


def _create(folder: Path) -> bool:
    """Create the folder and return True, False if it exists. Raises OSError."""
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
        return False
    return True


def _is_file(path: Path) -> bool:
    """Return whether a regular file, not a link to one, has this name."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
