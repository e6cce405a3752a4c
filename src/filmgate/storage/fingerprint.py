"""What tells a file from another: samples of its bytes, or all of them, read once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filmgate.storage.atomic import put_in_place

_SAMPLES, _SAMPLE_BYTES = 16, 1 << 16  # what is read of a film to know it again


def fingerprint(path: Path) -> dict[str, Any]:
    """What tells a file from another without reading all of it: size, and samples of its bytes."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for n in range(_SAMPLES):
            file.seek(max(0, size - _SAMPLE_BYTES) * n // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
    return {"bytes": size, "sha256_of_samples": digest.hexdigest()}


def cached_sha256(path: Path, folder: Path) -> str:
    """sha256 of the whole file, which is read only if it is not the one noted in `folder`.

    Size, time of the last change and samples tell that. Where a note can't be read or written,
    the file is read. Raises OSError where there is none.
    """
    seen = {**fingerprint(path), "changed_ns": path.stat().st_mtime_ns}
    place = os.fsencode(path.absolute())
    note = folder / f"{hashlib.sha256(place).hexdigest()[:32]}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        noted = json.loads(note.read_text())
        told = noted["sha256"]
        if noted["seen"] == seen and noted["check"] == _check(seen, told):
            return str(told)
    with open(path, "rb") as file:
        whole = hashlib.file_digest(file, "sha256").hexdigest()
    if path.stat().st_mtime_ns == seen["changed_ns"]:  # else it was written while it was read
        told = {"seen": seen, "sha256": whole, "check": _check(seen, whole)}
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            put_in_place(note, [json.dumps(told).encode()])
    return whole


def _check(seen: dict[str, Any], whole: str) -> str:
    return hashlib.sha256(f"{json.dumps(seen, sort_keys=True)} {whole}".encode()).hexdigest()


_BLOCK_BYTES = 1 << 20
Tell = Callable[[str, int, int], object]  # what is done, bytes so far, bytes in all


def nobody(doing: str, done: int, total: int) -> None:
    """Hears of progress and says nothing."""


def sha256_of(path: Path, tell: Tell = nobody) -> str:
    """The sha256 of a file, read through."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            done += len(block)
            tell("checking", done, total)
    return digest.hexdigest()


def memo_key(path: Path) -> str:
    return hashlib.sha256(str(path.absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def stat_of(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
