"""The folder of packages in the user's cache.

Users may keep files of their own there: what is listed or deleted has a name and a manifest that
only this program writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any

from filmgate.storage.atomic import TEMPORARY_SUFFIX
from filmgate.storage.result_cache import find_cache_folder

PACKAGE, MANIFEST, LOCK = ".pt2", ".json", ".lock"  # suffixes of what belongs to a package
MANIFEST_BYTES = 1 << 20  # no manifest is larger
_NAME = re.compile(r"[a-z0-9-]+-[0-9a-f]{16}")  # without its suffix
_TEMPORARY = re.compile(r"\.filmgate-[0-9a-f]{8}" + re.escape(TEMPORARY_SUFFIX))
_ABANDONED_S = 3600  # a temporary file of this age was left by a process that died


def find_package_folder() -> Path:
    """Return the folder; it need not exist."""
    return find_cache_folder().parent / "compiled"


def list_packages() -> dict[Path, int]:
    """Return the packages that are kept, with their bytes."""
    return {path: size for path in _find_packages() if (size := _measure(path)) is not None}


def remove_packages() -> int:
    """Delete all packages; return the bytes that were freed. Runs that have them open keep them."""
    freed = 0
    for path in _find_packages():
        with suppress(OSError):  # the manifest is the last: without it nothing shows whose they are
            freed += _delete(path)
            _delete(path.with_suffix(LOCK))
            _delete(path.with_suffix(MANIFEST))
    for path in find_package_folder().glob(f".*{TEMPORARY_SUFFIX}"):
        with suppress(OSError):
            if _TEMPORARY.fullmatch(path.name) and path.stat().st_mtime < time() - _ABANDONED_S:
                freed += _delete(path)
    return freed


def read_manifest(path: Path) -> tuple[dict[str, Any], str] | None:
    """Return the key of a package and its sha256, None if the file is no manifest of a package.

    Raises OSError; ValueError or RecursionError for what is no JSON.
    """
    with path.open("rb") as file:
        data = json.loads(file.read(MANIFEST_BYTES))
    key, found = (data.get("key"), data.get("sha256")) if isinstance(data, dict) else (None, None)
    if not isinstance(key, dict) or not isinstance(found, str):
        return None
    return (key, found) if re.fullmatch("[0-9a-f]{64}", found) else None


def _find_packages() -> Iterator[Path]:
    """Yield the names of packages that have a manifest; a package itself may be missing."""
    for path in sorted(find_package_folder().glob(f"*{MANIFEST}")):
        with suppress(OSError, ValueError, RecursionError):
            if _NAME.fullmatch(path.stem) and read_manifest(path):
                yield path.with_suffix(PACKAGE)


def _measure(path: Path) -> int | None:
    with suppress(OSError):
        return path.stat().st_size
    return None


def _delete(path: Path) -> int:
    """Delete a file if it is there; return its bytes. Raises OSError."""
    size = _measure(path)
    path.unlink(missing_ok=True)
    return size or 0
