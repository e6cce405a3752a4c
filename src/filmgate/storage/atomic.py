"""Files that are complete or absent: written aside, synced, renamed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

ASIDE = ".new"  # how the name of a file ends that is not whole yet


def put_in_place(path: Path, parts: Iterable[bytes]) -> None:
    """The parts as one file at `path`. Raises OSError, and then leaves nothing behind."""
    aside = path.with_name(f".{path.name}.{os.getpid()}-{token_hex(4)}{ASIDE}")
    try:
        with open(aside, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise


def sync(folder: Path) -> None:
    """Makes the names in a folder durable, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def named(part: Path, path: Path) -> None:
    """Gives a whole file its name; it is copied first if that is on another disk."""
    try:
        os.replace(part, path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        aside = path.with_name(f".{path.stem[:100]}.{part.parent.name}.part{path.suffix}")
        shutil.copyfile(part, aside)
        with open(aside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
        part.unlink()
    synced(path.parent)


def synced(folder: Path) -> None:
    """Makes the names in a folder durable, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
