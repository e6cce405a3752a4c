"""Write and rename files so that a name is complete or absent, also after a power cut."""

from __future__ import annotations

import errno
import os
from pathlib import Path

TEMPORARY_SUFFIX = ".new"


def write_atomic(path: Path, *data: bytes | memoryview) -> None:
    """Write the parts of `data` one after another so that `path` is complete or absent.

    An existing file is replaced. After an error the temporary file is removed. Raises OSError.
    """
    temporary = _name_temporary(path, os.urandom(4).hex())
    try:
        with open(temporary, "wb") as file:
            file.writelines(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        fsync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def replace_durably(part: Path, path: Path) -> None:
    """Sync the complete file `part` and rename it to `path`; on another disk, copy it first.

    A copy that a kill left behind has the same name the next time. Raises OSError.
    """
    fsync_file(part)
    try:
        os.replace(part, path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        import hashlib
        import shutil

        token = hashlib.sha256(os.fsencode(part.absolute())).hexdigest()[:8]
        temporary = _name_temporary(path, token)
        shutil.copyfile(part, temporary)
        fsync_file(temporary)
        os.replace(temporary, path)
        part.unlink()
    fsync_directory(path.parent)


def fsync_file(path: Path) -> None:
    """Make the content of a file durable."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def fsync_directory(folder: Path) -> None:
    """Make the names in a folder durable, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _name_temporary(path: Path, token: str) -> Path:
    """Return a hidden name next to `path`; it is short, because `path` may have 255 bytes."""
    return path.with_name(f".filmgate-{token}{TEMPORARY_SUFFIX}")
