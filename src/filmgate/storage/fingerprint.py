"""Identify files: by samples of their bytes, or by a SHA-256 that is computed once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filmgate.storage.atomic import write_atomic
from filmgate.storage.file_kind import check_input_file, describe_other_kind

_SAMPLE_COUNT, _SAMPLE_BYTES = 16, 1 << 16
_BLOCK_BYTES = 1 << 20
ProgressCallback = Callable[[str, int, int], object]  # what is being done, bytes done, bytes total


def ignore_progress(doing: str, done: int, total: int) -> None:
    """Do nothing with the progress."""


def sample_fingerprint(path: Path) -> dict[str, Any]:
    """Return the size and a SHA-256 of 16 samples of a file, without reading all of it.

    Raises BadInput if `path` is a pipe, a folder or a device, which is not opened; OSError.
    """
    if describe_other_kind(path):
        check_input_file(path, "a file")
    size = path.stat().st_size
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for n in range(_SAMPLE_COUNT):
            file.seek(max(0, size - _SAMPLE_BYTES) * n // (_SAMPLE_COUNT - 1))
            digest.update(file.read(_SAMPLE_BYTES))
    return {"bytes": size, "sha256_of_samples": digest.hexdigest()}


def sha256_of(path: Path, on_progress: ProgressCallback = ignore_progress) -> str:
    """Read a file and return its SHA-256 in hex."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            done += len(block)
            on_progress("checking", done, total)
    return digest.hexdigest()


def cached_sha256(
    path: Path,
    memo_folder: Path,
    *,
    again: bool = False,
    on_progress: ProgressCallback = ignore_progress,
) -> str:
    """Return a file's SHA-256; it is read only if it changed since it was last read.

    Size, times, inode and samples of the bytes detect a change. `again` reads it in any case.
    Where the memo cannot be read or written, the file is read. Raises OSError if there is none.
    """
    identity = _identify(path)
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        memo = json.loads(_memo_path(path, memo_folder).read_text(encoding="utf-8"))
        if not again and memo["identity"] == identity and memo["check"] == _check(memo):
            return str(memo["sha256"])
    sha256 = sha256_of(path, on_progress)
    if _identify(path) == identity:  # else it was written while it was read
        remember_sha256(path, sha256, memo_folder)
    return sha256


def remember_sha256(path: Path, sha256: str, memo_folder: Path) -> None:
    """Store the SHA-256 of a file as it is now; a folder that cannot be written is ignored."""
    memo = {"path": str(path), "identity": _identify(path), "sha256": sha256}
    memo["check"] = _check(memo)
    with suppress(OSError):
        memo_folder.mkdir(parents=True, exist_ok=True)
        write_atomic(_memo_path(path, memo_folder), json.dumps(memo).encode())


def _identify(path: Path) -> dict[str, Any]:
    stat = path.stat()
    return {
        **sample_fingerprint(path),
        "changed_ns": [stat.st_mtime_ns, stat.st_ctime_ns],
        "inode": stat.st_ino,
    }


def _check(memo: dict[str, Any]) -> str:
    text = f"{json.dumps(memo['identity'], sort_keys=True)} {memo['sha256']}"
    return hashlib.sha256(text.encode()).hexdigest()


def _memo_path(path: Path, memo_folder: Path) -> Path:
    key = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32]
    return memo_folder / f"{key}.json"
