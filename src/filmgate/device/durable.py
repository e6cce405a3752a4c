"""Files that are whole or absent: written aside, synced, renamed."""

import os
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
