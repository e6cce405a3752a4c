"""A lock on a file that ends with its process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def hold_lock(path: Path, on_wait: Callable[[], object]) -> Iterator[None]:
    """Hold the lock file `path` while the `with` lasts; wait for another holder.

    `on_wait` is called once before waiting. The file is created, and stays. Raises OSError.
    """
    with path.open("ab+", buffering=0) as file:
        if not try_lock(file.fileno()):
            on_wait()
            _wait_for_lock(file.fileno())
        yield


def try_lock(handle: int) -> bool:
    """Lock an open file unless another process has it; return whether it is locked now."""
    try:
        import fcntl
    except ImportError:  # no POSIX: the first byte is locked
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


def is_same_file(handle: int, path: Path) -> bool:
    """Return whether `path` still names the open file."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _wait_for_lock(handle: int) -> None:
    try:
        import fcntl
    except ImportError:
        import msvcrt

        locking: Any = msvcrt
        while True:
            with suppress(OSError):  # raised after ten attempts, a second apart
                locking.locking(handle, locking.LK_LOCK, 1)
                return
    fcntl.flock(handle, fcntl.LOCK_EX)
