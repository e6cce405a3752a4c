"""A file that is partly downloaded, and the errors of its disk."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filmgate.errors import DoesNotFit, NotFetched
from filmgate.units import format_bytes


@dataclass(frozen=True, slots=True)
class PartialFile:
    """A partly downloaded file, and next to it a note of what the server said about it."""

    path: Path

    @classmethod
    def of(cls, path: Path) -> PartialFile:
        """Return the partial file for the complete one at `path`."""
        return cls(path.with_name(f"{path.name}.part"))

    @property
    def size(self) -> int:
        """Bytes downloaded so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def note(self) -> dict[str, str]:
        """The `etag` and the `sha256` that the server named, if it did."""
        with suppress(OSError, ValueError):
            note = json.loads(self._note_path.read_text(encoding="utf-8"))
            if isinstance(note, dict):
                return {str(key): str(value) for key, value in note.items()}
        return {}

    def create(self, note: dict[str, str]) -> None:
        """Start with an empty file and this note."""
        with translate_disk_errors(self.path):
            self.delete()
            self._note_path.write_text(json.dumps(note), encoding="utf-8")
            self.path.touch()

    def delete(self) -> None:
        """Delete the file and its note."""
        self.path.unlink(missing_ok=True)
        self._note_path.unlink(missing_ok=True)

    @property
    def _note_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")


def check_disk_space(folder: Path, needed_bytes: int) -> None:
    """Raise DoesNotFit if the disk of a folder has less free space than that."""
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise DoesNotFit(
            f"{folder} needs {format_bytes(needed_bytes)} and {format_bytes(free)} are free: free "
            "disk space, or set FILMGATE_MODELS to a folder on another disk",
            needed_bytes,
        )


@contextmanager
def translate_disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError of the disk into NotFetched, to tell it from those of the network."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))
        cure = "free disk space" if full else "check the disk"
        raise NotFetched(f"{path} cannot be written: {error.strerror}; {cure} and run the same "
                         "command to resume") from error  # fmt: skip
