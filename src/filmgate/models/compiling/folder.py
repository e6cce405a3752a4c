"""The folder of packages in the user's cache."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from filmgate.storage.result_cache import find_cache_folder

PACKAGE, MANIFEST, LOCK = ".pt2", ".json", ".lock"  # suffixes of what belongs to a package


def find_package_folder() -> Path:
    """Return the folder; it need not exist."""
    return find_cache_folder().parent / "compiled"


def list_packages() -> list[Path]:
    """Return the packages that are kept."""
    return sorted(find_package_folder().glob(f"*{PACKAGE}"))


def remove_packages() -> int:
    """Delete all packages; return the bytes that were freed. Runs that have them open keep them."""
    freed = 0
    for path in list_packages():
        size = path.stat().st_size
        with suppress(OSError):
            for suffix in (MANIFEST, PACKAGE, LOCK):
                path.with_suffix(suffix).unlink(missing_ok=True)
            freed += size
    return freed
