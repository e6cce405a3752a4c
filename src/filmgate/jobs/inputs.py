"""The files that a run reads: what identifies them, and whether they change while it runs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filmgate.errors import BadInput
from filmgate.storage.fingerprint import sample_fingerprint

# A copy of a file has others. They are stored to report that, but do not refuse a run.
_PLACE_KEYS = ("path", "device", "inode", "changed")
_MOST_OPEN = 64  # files that are held open, and looked at at every commit


def identify_input(path: Path) -> dict[str, Any]:
    """Return what identifies an input, as JSON: size, samples, time of change, and its place."""
    stat = path.stat()
    return {
        **identify_weights(path),
        "modified": _format_time(stat.st_mtime_ns),
        "device": stat.st_dev,
        "inode": stat.st_ino,
        "changed": _format_time(stat.st_ctime_ns),
    }


def identify_weights(path: Path) -> dict[str, Any]:
    """Return what identifies a file of weights, as JSON: size and samples, and its place."""
    return {**sample_fingerprint(path), "path": str(path.absolute())}


def without_place(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an exact copy of the file shares with it."""
    return {key: value for key, value in identity.items() if key not in _PLACE_KEYS}


@dataclass(frozen=True, slots=True)
class _State:
    """A file as it was when the run started."""

    stat: os.stat_result
    samples: Mapping[str, Any]


class InputWatch:
    """The files that a run reads, held open, so that no other file can get their inodes.

    `check` compares what has their names now with what had them when this was opened.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._files = ExitStack()
        self._states: dict[Path, _State] = {}
        for path in dict.fromkeys(paths):
            if not path.is_file():
                continue
            if len(self._states) < _MOST_OPEN:
                file = self._files.enter_context(path.open("rb"))
                self._states[path] = _State(os.fstat(file.fileno()), sample_fingerprint(path))
            else:
                self._states[path] = _State(path.stat(), {})

    def check(self, *, ended: bool = True) -> None:
        """Raise BadInput if a file was replaced, changed or removed since.

        Until the run has `ended`, only the first of many files are looked at.
        """
        for k, (path, state) in enumerate(self._states.items()):
            if not ended and k >= _MOST_OPEN:
                return
            if how := _find_change(path, state):
                raise BadInput(
                    f"{path} was {how} while the run read it, so the result would be of two "
                    "videos. Put the old file back and run the same command to resume, or run it "
                    "with --restart for the new one"
                )

    def __enter__(self) -> InputWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()


def _find_change(path: Path, before: _State) -> str:
    """Return what happened to a file, "" if nothing that affects its content."""
    try:
        stat = path.stat()
    except OSError:
        return "removed"
    if not os.path.samestat(stat, before.stat):
        return "replaced by another file"
    if (stat.st_size, stat.st_mtime_ns) != (before.stat.st_size, before.stat.st_mtime_ns):
        return "changed"
    # Its name or permissions may have changed, or its content by a program that reset its time.
    if stat.st_ctime_ns != before.stat.st_ctime_ns and before.samples:
        return "" if sample_fingerprint(path) == before.samples else "changed"
    return ""


def _format_time(ns: int) -> str:
    """Return a time of the file system, in seconds since 1970, to the nanosecond."""
    return f"{ns // 10**9}.{ns % 10**9:09} s"
