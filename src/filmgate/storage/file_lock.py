"""A lock on a file that ends with its process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    # The byte that is locked. It is behind the file's end: a locked one cannot be read by others.
    _LOCKED_BYTE = 1 << 30

    def _lock(handle: int, mode: int) -> None:
        position = os.lseek(handle, 0, os.SEEK_CUR)
        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(handle, mode, 1)
        finally:
            os.lseek(handle, position, os.SEEK_SET)

    def try_lock(handle: int) -> bool:
        """Lock an open file unless another process has it; return whether it is locked now."""
        try:
            _lock(handle, msvcrt.LK_NBLCK)
        except OSError:
            return False
        return True

    def _wait_for_lock(handle: int) -> None:
        while True:
            with suppress(OSError):  # raised after ten attempts, a second apart
                return _lock(handle, msvcrt.LK_LOCK)

else:
    import fcntl

    def try_lock(handle: int) -> bool:
        """Lock an open file unless another process has it; return whether it is locked now."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait_for_lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX)


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


def is_same_file(handle: int, path: Path) -> bool:
    """Return whether `path` still names the open file."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
