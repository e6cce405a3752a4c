"""A file, or several one after the other, as FFmpeg reads it through Python."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import av

_MAX_GROWTH = 1 << 40  # bytes that the last file may grow by; systems refuse to seek much further


class LocalFile:
    """The bytes of files, one after the other, as a disc's title is cut into files.

    A seek that is not possible returns a negative error code, as FFmpeg wants it: an exception
    would end what it can go without. `name` is that of the first file.
    """

    def __init__(self, *paths: Path) -> None:
        self.name = str(paths[0])
        with ExitStack() as stack:
            self._files = [stack.enter_context(open(path, "rb", buffering=0)) for path in paths]
            self._stack = stack.pop_all()
        self._sizes = [os.fstat(file.fileno()).st_size for file in self._files]
        self._at = 0

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes; none at the end. Raises FFmpegError."""
        start = 0
        last = len(self._files) - 1
        for n, (file, length) in enumerate(zip(self._files, self._sizes, strict=True)):
            if self._at < start + length or n == last:  # the last one may grow
                try:
                    file.seek(max(0, self._at - start))
                    data = file.read(size) or b""
                except OSError as error:
                    code = error.errno or errno.EIO
                    raise av.FFmpegError(code, error.strerror or "cannot be read") from error
                self._at += len(data)
                return data
            start += length
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a byte of all; return where that is, or a negative error code."""
        size = sum(self._sizes)
        at = offset + (0, self._at, size)[whence]
        if not 0 <= at <= size + _MAX_GROWTH:
            return -errno.EINVAL
        self._at = at
        return at

    def tell(self) -> int:
        """Return the byte that is read next."""
        return self._at

    def close(self) -> None:
        """Close all files."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
