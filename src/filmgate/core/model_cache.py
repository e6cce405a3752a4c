"""Loaded networks, shared by everything that one process builds."""

from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

from filmgate.core.instrumentation.phases import phase

T = TypeVar("T")


class ModelCache:
    """Loaded networks by the files they came from. A process owns one and passes it down.

    Nothing is evicted by itself: whoever owns the cache drops networks. Stages never write to
    their weights, so pipelines share networks safely, also across threads.
    """

    def __init__(self, device_bytes: int | None = None, host_bytes: int | None = None) -> None:
        self.device_bytes = device_bytes  # that may be used on a device; None: all that is free
        self.host_bytes = host_bytes  # the same of RAM
        self.notices: list[str] = []  # about what was loaded, for the user; removed once shown
        self._loaded: dict[Hashable, Any] = {}
        self._lock = RLock()

    def load(
        self,
        loader: Callable[..., T],
        path: Path,
        *settings: Hashable,
        files: Iterable[Path] | None = None,
    ) -> T:
        """Return `loader(path, *settings)`, called once while the files on disk stay the same.

        `files` are those that the loader opens (default: `path` alone).
        """
        key = self.make_key(loader, path, settings, files)
        with self._lock:
            if key not in self._loaded:
                with phase(f"weights {path.name}"):
                    self._loaded[key] = loader(path, *settings)
            network: T = self._loaded[key]
        return network

    @staticmethod
    def make_key(
        loader: Callable[..., object],
        path: Path,
        settings: tuple[Hashable, ...],
        files: Iterable[Path] | None,
    ) -> Hashable:
        """Return what tells networks apart."""
        return (loader, path, settings, tuple(map(_identity, files or (path,))))

    def drop(self, key: Hashable) -> None:
        """Forget a network; it is freed when nothing uses it any more."""
        with self._lock:
            self._loaded.pop(key, None)


def _identity(path: Path) -> tuple[object, ...]:
    """Return what changes when a file is replaced or rewritten; the loader reports missing ones."""
    try:
        stat = path.stat()
    except OSError:
        return (str(path),)
    return (str(path), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
