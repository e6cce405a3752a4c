"""Loaded networks that a worker keeps from job to job, with those that it never drops."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filmgate.core.instrumentation.memory import get_loaded_cuda, list_used_devices
from filmgate.core.model_cache import ModelCache

T = TypeVar("T")


class WarmModels(ModelCache):
    """A cache that knows which networks were used last, and which are pinned."""

    def __init__(self) -> None:
        super().__init__()
        self._order: dict[Hashable, None] = {}  # of use, the latest last
        self._pinned: set[Hashable] = set()
        self._is_pinning = False
        self.pins: dict[str, int] = {}  # bytes of those that are pinned, by name
        self._left: set[Hashable] = set()  # of earlier jobs, that this one has not used
        self.left_bytes = 0  # of them on the device

    def load(
        self,
        loader: Callable[..., T],
        path: Path,
        *settings: Hashable,
        files: Iterable[Path] | None = None,
    ) -> T:
        """Return a network, loaded once; see `ModelCache.load`."""
        files = None if files is None else tuple(files)
        network = super().load(loader, path, *settings, files=files)
        key = self.make_key(loader, path, settings, files)
        self._order.pop(key, None)
        self._order[key] = None
        if self._is_pinning:
            self._pinned.add(key)
        if key in self._left:
            self._left.discard(key)
            self.left_bytes = max(0, self.left_bytes - self._count([key]))
        return network

    def begin_job(self) -> None:
        """Count from now on in `left_bytes` what is on the device and the job does not use.

        Networks of earlier jobs, without pins, until the job loads them.
        """
        self._left = set(self._order) - self._pinned
        self.left_bytes = max(0, measure_device_bytes() - sum(self.pins.values()))

    @contextmanager
    def pin(self, name: str) -> Iterator[None]:
        """Keep for ever what is loaded inside the `with`; `name` is for its bytes in `pins`.

        Those on the device, or in RAM if none are there. If it raises, nothing of it is kept.
        """
        before, pinned, self._is_pinning = measure_device_bytes(), set(self._pinned), True
        try:
            yield
        except BaseException:
            self._pinned = pinned
            raise
        finally:
            self._is_pinning = False
        size = max(0, measure_device_bytes() - before) or self._count(self._pinned - pinned)
        self.pins[name] = self.pins.get(name, 0) + size

    def count_bytes(self) -> int:
        """Return the bytes of the networks that are not pinned."""
        return self._count(set(self._order) - self._pinned)

    def drop_bytes(self, size_bytes: int) -> None:
        """Drop networks of so many bytes that are not pinned, the longest unused first."""
        for key in [key for key in self._order if key not in self._pinned]:
            if size_bytes <= 0:
                break
            size_bytes -= self._count([key])
            self._order.pop(key)
            self.drop(key)

    def _count(self, keys: Iterable[Hashable]) -> int:
        from filmgate.planning.measure import count_weight_bytes

        return sum(count_weight_bytes(self._loaded.get(key)) for key in keys)

    def release(self, most_bytes: int) -> int:
        """Drop networks that are not pinned, the longest unused first, until the device's memory
        in use is at most `most_bytes`; return how many were dropped."""
        dropped = 0
        for key in [key for key in self._order if key not in self._pinned]:
            if measure_device_bytes() <= most_bytes:
                break
            self._order.pop(key)
            self.drop(key)
            dropped += 1
        return dropped


def measure_device_peak() -> int:
    """Return the most that torch has had on the CUDA devices since `reset_device_peak`; 0 without
    one."""
    cuda = get_loaded_cuda()
    return sum(int(cuda.max_memory_allocated(k)) for k in list_used_devices(cuda)) if cuda else 0


def reset_device_peak() -> None:
    """Measure from now on for `measure_device_peak`."""
    if cuda := get_loaded_cuda():
        for k in list_used_devices(cuda):
            cuda.reset_peak_memory_stats(k)


def measure_device_bytes() -> int:
    """Return what torch has allocated on the CUDA devices of this process; 0 without one."""
    cuda = get_loaded_cuda()
    return sum(int(cuda.memory_allocated(k)) for k in list_used_devices(cuda)) if cuda else 0
