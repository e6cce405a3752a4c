"""Write and rename files so that a name is complete or absent, also after a power cut."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from threading import Event

from filmgate.errors import Busy

TEMPORARY_SUFFIX = ".new"
MAX_NAME_BYTES = 255  # of a name, on nearly all disks
_STEM_BYTES = 100  # of a name that its hidden name repeats
# Windows renames and deletes no file that a program has open. A virus scanner has a new file open
# for a moment, a player has it open for longer.
_IN_USE = (5, 32)  # ERROR_ACCESS_DENIED and ERROR_SHARING_VIOLATION
_ATTEMPTS, _PAUSE_S = (20, 0.05) if sys.platform == "win32" else (1, 0.0)


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
        rename(temporary, path)
        fsync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def replace_durably(part: Path, path: Path) -> None:
    """Sync the complete file `part` and rename it to `path`, as `rename_durably`."""
    fsync_file(part)
    rename_durably(part, path)


def rename_durably(part: Path, path: Path) -> None:
    """Rename `part`, which is complete and synced, to `path`; on another disk, copy it first.

    A copy that a kill left behind has the same name the next time. Raises OSError; Busy if another
    program has the file `path` open, which Windows does not replace then.
    """
    try:
        rename(part, path)
    except OSError as error:
        if getattr(error, "winerror", 0) in _IN_USE and path.exists():
            raise Busy(
                f"{path} cannot be replaced: another program has it open. Close that program, "
                "such as a player, and run the same command again"
            ) from error
        if error.errno != errno.EXDEV:
            raise
        import hashlib
        import shutil

        token = hashlib.sha256(os.fsencode(part.absolute())).hexdigest()[:8]
        temporary = _name_temporary(path, token)
        shutil.copyfile(part, temporary)
        fsync_file(temporary)
        rename(temporary, path)
        part.unlink()
    fsync_directory(path.parent)


def rename(part: Path, path: Path) -> None:
    """Rename `part` to `path` and replace what is there; wait while Windows says it is in use.

    Raises OSError; PermissionError if another program keeps one of them open.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            os.replace(part, path)
        except PermissionError:
            Event().wait(_PAUSE_S)
        else:
            return
    os.replace(part, path)


def fsync_file(path: Path) -> None:
    """Make the content of a file durable."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def fsync_directory(folder: Path) -> None:
    """Make the names in a folder durable. Windows has no such call: NTFS logs changes of names."""
    if sys.platform != "win32":
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def name_hidden(path: Path, token: str, suffix: str) -> Path:
    """Return the name of `path` while it is written: .NAME.TOKEN.part and its suffix.

    The name is cut: with a long one the hidden name would have more bytes than a disk takes.
    """
    return path.with_name(f".{_cut(path.stem, _STEM_BYTES)}.{token}.part{suffix}")


def append_suffix(path: Path, suffix: str) -> Path:
    """Return `path` with a suffix after its name; a long name is cut, and stays unique."""
    if len(os.fsencode(path.name + suffix)) <= MAX_NAME_BYTES:
        return path.with_name(path.name + suffix)
    import hashlib

    end = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}{suffix}"
    return path.with_name(_cut(path.name, MAX_NAME_BYTES - len(end)) + end)


def _cut(name: str, size: int) -> str:
    """Return the beginning of a name, at most `size` bytes."""
    return os.fsencode(name)[:size].decode(errors="ignore")


def _name_temporary(path: Path, token: str) -> Path:
    """Return a hidden name next to `path`; it is short, because `path` may have 255 bytes."""
    return path.with_name(f".filmgate-{token}{TEMPORARY_SUFFIX}")
