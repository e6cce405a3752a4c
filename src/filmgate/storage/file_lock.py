"""A lock on a file that ends with its process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def try_lock(handle: int) -> bool:
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
