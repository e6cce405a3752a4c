"""A run's folder beside its result: what must survive the run, and who is at it."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filmgate.errors import BadSetting, Busy, FilmgateError

_SAMPLES, _SAMPLE_BYTES = 16, 1 << 16  # what is read of a film to know it again


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of one run; every file in it is whole or absent."""

    path: Path

    @classmethod
    def beside(cls, result: Path) -> Folder:
        """Where the run that makes `result` keeps what it needs to go on."""
        return cls(result.with_name(result.name + ".filmgate"))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else works here meanwhile; the system lets go of it when its holder dies.

        Raises Busy, with who holds it; BadSetting where no folder can be made.
        """
        try:
            self.path.mkdir(exist_ok=True)
            lock = (self.path / "lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise BadSetting(
                f"the folder {self.path} can't be made or written: {error.strerror}; name another "
                "with --work"
            ) from error
        with lock:
            if not _locked(lock.fileno()):
                lock.seek(0)
                raise Busy(
                    f"{self.path} is in use by {lock.read().strip() or 'another process'}: wait "
                    "for it, or stop it"
                )
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}")
            lock.flush()
            yield

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
            raise DiskTrouble.of(self.path, error) from error

    def read(self, name: str) -> bytes | None:
        """What is in a file; None if it is not there."""
        with suppress(FileNotFoundError):
            return (self.path / name).read_bytes()
        return None

    def clear(self, *, keep: frozenset[str] = frozenset()) -> None:
        """Takes away every file but the lock and those to keep."""
        for entry in os.scandir(self.path):
            if entry.name != "lock" and entry.name not in keep:
                os.unlink(entry.path)

    def remove(self) -> None:
        """Takes away the folder and what is in it."""
        self.clear()
        (self.path / "lock").unlink(missing_ok=True)
        self.path.rmdir()


class DiskTrouble(FilmgateError):
    """The disk is full or failed: what was committed is good, and the run can go on later."""

    @classmethod
    def of(cls, place: Path, error: OSError) -> DiskTrouble:
        """What to tell of a system's error about `place`."""
        free = ""
        with suppress(OSError):
            stat = os.statvfs(place)
            free = f", {stat.f_bavail * stat.f_frsize / 1e6:.0f} MB are free there"
        return cls(
            f"{place} could not be written: {error.strerror}{free}; make room, and the same "
            "command goes on from the last commit"
        )


def sync(folder: Path) -> None:
    """Makes the names in a folder durable, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def fingerprint(path: Path) -> dict[str, Any]:
    """What tells a file from another without reading all of it: size, and samples of its bytes."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for n in range(_SAMPLES):
            file.seek(max(0, size - _SAMPLE_BYTES) * n // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
    return {"bytes": size, "sha256_of_samples": digest.hexdigest()}


def differences(old: Mapping[str, Any], new: Mapping[str, Any], within: str = "") -> list[str]:
    """What is not the same, in words: "tasks.0.factor was 2, is 3"."""
    found = []
    for key in dict.fromkeys((*old, *new)):
        a, b, name = old.get(key), new.get(key), f"{within}{key}"
        if isinstance(a, list) and isinstance(b, list):
            a, b = dict(enumerate(a)), dict(enumerate(b))
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{name}.")
        elif a != b:
            found.append(f"{name} was {_said(a)}, is {_said(b)}")
    return found


def _said(value: object) -> str:
    return "not set" if value is None else json.dumps(value)


def _locked(handle: int) -> bool:
    try:
        import fcntl
    except ImportError:  # no POSIX: a lock there is a file that can't be opened twice
        import msvcrt

        locking: Any = msvcrt
        try:
            locking.locking(handle, locking.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
