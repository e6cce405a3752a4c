"""A run's folder beside its result: what must survive the run, and who is at it."""

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

from filmgate.errors import BadSetting, Busy, DiskFull
from filmgate.storage.atomic import sync
from filmgate.storage.file_lock import same_file, try_lock

SUFFIX = ".filmgate"
COMMITS = "commits.json"  # the list of commits that count
# Every name that a run gives to a file here. Nothing else is ever opened for writing or deleted.
_WRITTEN = re.compile(
    r"lock|events\.jsonl|(job|plan|commits)\.json|\d{6,}\.snapshot"
    r"|\.((job|plan|commits)\.json|\d{6,}\.snapshot)\.new"
    r"|\.?\d{6,}\.(nut|mov)|(result|playable)\.\w+|\.playable\.[0-9a-f]{8}\.part\.\w+"
)
_HOLDER = re.compile(rb"(process \d+ on .*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The folder of one run; every file in it is whole or absent."""

    path: Path

    @classmethod
    def beside(cls, result: Path) -> RunDirectory:
        """Where the run that makes `result` keeps what it needs to go on."""
        return cls(result.with_name(result.name + SUFFIX))

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Lock the directory while the `with` lasts; the lock ends with its process.

        Yields whether the directory is new. Raises Busy, with the process that holds it;
        BadSetting if it cannot be made, or holds files that no run wrote.
        """
        try:
            created = _made(self.path)
            if foreign := self.foreign():
                raise BadSetting(
                    f"{self.path} is not the folder of a run: it holds {foreign}. Nothing in it "
                    "was changed. Name a new or an empty folder with --work"
                )
            lock = (self.path / "lock").open("ab+", buffering=0)
        except OSError as error:
            raise BadSetting(
                f"the folder {self.path} can't be made or written: {error.strerror}; name another "
                "with --work"
            ) from error
        with lock:
            if not try_lock(lock.fileno()):
                lock.seek(0)
                raise Busy(
                    f"{self.path} is in use by {lock.read().decode() or 'another process'}: wait "
                    "for it, or stop it"
                )
            if not same_file(lock.fileno(), self.path / "lock"):
                raise Busy(f"{self.path} was just finished by another process: look at its result")
            lock.truncate(0)
            with suppress(OSError):  # on a full disk nobody's name stands there; it is held anyway
                lock.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
            yield created

    def foreign(self) -> str:
        """Names of files here that no run wrote, if that makes this someone else's directory.

        Empty: the directory is empty or a run's own. A run's own may hold files of the user as
        well. Links under our names are foreign: writing or deleting would follow them.
        """
        ours, others = set[str](), list[str]()
        for name in sorted(os.listdir(self.path)):
            if not _WRITTEN.fullmatch(name):
                others.append(name)
            elif _is_file(self.path / name):
                ours.add(name)
            else:
                return f"{name}, which is no regular file"
        if "lock" in ours and not _HOLDER.fullmatch((self.path / "lock").read_bytes()[:1000]):
            return "lock, which no run wrote"
        if ("job.json" in ours and self._is_job()) or ("lock" in ours and not others):
            return ""
        found = [*others, *sorted(ours)]
        return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if found[3:] else "")

    @property
    def begun(self) -> bool:
        """Whether the directory is that of a run, however damaged."""
        return self.path.is_dir() and bool(os.listdir(self.path)) and not self.foreign()

    def _is_job(self) -> bool:
        with suppress(ValueError, RecursionError):
            told = json.loads(self.read("job.json") or b"")
            return isinstance(told, dict) and {"job", "limits", "versions"} <= told.keys()
        return False

    def holder(self) -> str:
        """Who is at work here; empty: nobody."""
        try:
            with (self.path / "lock").open("r", encoding="utf-8") as lock:
                return "" if try_lock(lock.fileno()) else lock.read().strip() or "somebody"
        except OSError:
            return ""

    def write(self, name: str, data: bytes) -> None:
        """Puts a file in place, whole and durable: written aside, synced, renamed, synced."""
        aside = self.path / f".{name}.new"
        try:
            with open(aside, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, self.path / name)
            sync(self.path)
        except OSError as error:
            raise DiskFull.of(self.path, error) from error

    def read(self, name: str) -> bytes | None:
        """What is in a file; None if it is not there."""
        with suppress(FileNotFoundError):
            return (self.path / name).read_bytes()
        return None

    def clear(self) -> None:
        """Delete what the run wrote, except the lock and job.json.

        The list of commits goes first: a run that finds the rest of the folder starts again.
        job.json stays, because it marks the directory as a run's.
        """
        self._delete(COMMITS)
        for name in sorted(os.listdir(self.path)):
            if name not in ("lock", "job.json"):
                self._delete(name)

    def remove(self) -> None:
        """Delete what the run wrote, and the directory if it was created for the run.

        Whatever tells that the result is complete goes last. Files of the user stay.
        """
        given = self._is_job() and json.loads(self.read("job.json") or b"{}").get("given")
        last = (COMMITS, "plan.json", "job.json", "lock")
        names = [name for name in sorted(os.listdir(self.path)) if name not in last]
        for name in (*names, *last):
            self._delete(name)
        if not given:
            with suppress(OSError):  # the user keeps files here
                self.path.rmdir()

    def _delete(self, name: str) -> None:
        path = self.path / name
        if _WRITTEN.fullmatch(name) and _is_file(path):
            os.unlink(path)


def _made(folder: Path) -> bool:
    """Whether the folder had to be made. Raises OSError."""
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
        return False
    return True


def _is_file(path: Path) -> bool:
    """Whether a regular file, and no link to one, has this name."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
