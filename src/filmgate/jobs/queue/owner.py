"""One process owns a database: a lock file next to it, with the owner's name in it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from filmgate.errors import BadSetting, Busy
from filmgate.jobs.queue.clock import Clock
from filmgate.storage.file_kind import describe_other_kind
from filmgate.storage.file_lock import is_same_file, try_lock

LOCK_SUFFIX = ".lock"
_MAX_TEXT = 1000
_START = '{"process": '


class _Readable(Protocol):
    def seek(self, offset: int, whence: int = ..., /) -> int: ...
    def read(self, size: int = ..., /) -> bytes: ...


@contextmanager
def hold_database(path: Path, clock: Clock) -> Iterator[None]:
    """Own the database while the `with` lasts; the lock ends with the process, however it ends.

    The file path + ".lock" stays. Raises Busy, with the process that owns it; BadSetting if the
    file cannot be written.
    """
    lock = path.with_name(path.name + LOCK_SUFFIX)
    if kind := describe_other_kind(lock):
        raise BadSetting(f"{lock} is {kind}, wanted the queue's lock file: move it away")
    try:
        file = lock.open("ab+", buffering=0)
    except OSError as error:
        raise BadSetting(
            f"cannot write {lock}: {error.strerror}. Choose a folder for the queue that exists and "
            "can be written"
        ) from error
    with file:
        if not _is_ours(_read_text(file)):
            raise BadSetting(f"{lock} is not a queue's lock file: move it away")
        try:
            is_locked = try_lock(file.fileno())
        except OSError as error:
            raise BadSetting(
                f"cannot lock {lock}: {error.strerror}. Choose a folder on a disk that can lock "
                "files, which some network disks cannot"
            ) from error
        if not is_locked or not is_same_file(file.fileno(), lock):
            raise Busy(f"{path} is in use by {_describe(file)}: stop it, or use another queue")
        file.truncate(0)
        with suppress(OSError):  # on a full disk there is no name in it, but it is held
            file.write(_describe_self(clock))
        yield


def read_owner(path: Path) -> str:
    """Return what the lock file says of the latest owner of a database, "" if nothing."""
    with suppress(OSError), path.with_name(path.name + LOCK_SUFFIX).open("rb") as file:
        return _describe(file) if _read_text(file) else ""
    return ""


def _describe_self(clock: Clock) -> bytes:
    started = datetime.fromtimestamp(max(0.0, min(clock.wall_s(), 4e9)), UTC)
    form = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "started": started.isoformat(timespec="seconds"),
    }
    return json.dumps(form).encode()


def _read_text(file: _Readable) -> str:
    file.seek(0)
    return file.read(_MAX_TEXT).decode(errors="replace")


def _is_ours(text: str) -> bool:
    """Return whether a queue wrote the lock file; a power cut leaves its beginning, or zeros."""
    return _START.startswith(text.strip("\0")[: len(_START)])


def _read_owner(file: _Readable) -> dict[str, object] | None:
    """Return what the lock file holds, None if it is not complete."""
    with suppress(ValueError):
        form = json.loads(_read_text(file))
        if isinstance(form, dict) and form.keys() == {"process", "host", "started"}:
            return form
    return None


def _describe(file: _Readable) -> str:
    owner = _read_owner(file)
    if owner is None:
        return "another process"
    parts = {name: f"{value!s:.80}" for name, value in owner.items()}
    return f"process {parts['process']} on {parts['host']}, started {parts['started']}"
