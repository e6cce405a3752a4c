"""A file that only takes space: when the disk is full, it is deleted, and the queue can write."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

BALLAST_BYTES = 64 << 20
_NAME, _PART = "ballast", 1 << 20  # bytes written at a time
_FREE_TIMES = 16  # so much more must be free for it to be written


class Ballast:
    """The file in the folder of a service."""

    def __init__(self, folder: Path, size_bytes: int = BALLAST_BYTES) -> None:
        self._path, self._size_bytes = folder / _NAME, size_bytes

    def fill(self) -> None:
        """Write the file if it is missing and there is much more space than it takes."""
        with suppress(OSError):
            if not self._path.exists() and (
                shutil.disk_usage(self._path.parent).free > _FREE_TIMES * self._size_bytes
            ):
                with open(self._path, "xb") as file:
                    _reserve(file.fileno(), self._size_bytes)

    def release(self) -> bool:
        """Delete the file; return whether that made space."""
        try:
            if self._path.is_symlink() or self._path.stat().st_size < self._size_bytes:
                return False
            self._path.unlink()
        except OSError:
            return False
        return True


def _reserve(descriptor: int, size_bytes: int) -> None:
    """Make a file take so much space. Raises OSError."""
    if sys.platform == "linux":
        os.posix_fallocate(descriptor, 0, size_bytes)
    else:
        for _ in range(0, size_bytes, _PART):
            os.write(descriptor, b"x" * _PART)  # zeros may take no space
