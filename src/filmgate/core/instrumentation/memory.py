"""Memory of this process and of this machine, in bytes."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event, Thread
from typing import Any

_STATM = "/proc/self/statm"  # sizes in pages; the second is what is resident
_MMAP_THRESHOLD = -3  # malloc.h
_MAPPED_BYTES = 1 << 20  # it takes longer to map smaller pieces again than they are worth
_SAMPLE_SECONDS = 0.001  # between two samples, if the system keeps no peak


def make_memory_meter() -> Callable[[], int]:
    """Return a function that returns the resident memory of this process, in bytes.

    It is called for every chunk of every run: on Linux it reads a line, and psutil is not loaded.
    """
    if sys.platform == "linux" and os.path.exists(_STATM):
        page = os.sysconf("SC_PAGE_SIZE")
        return lambda: _read_resident_pages() * page
    import psutil

    process = psutil.Process()
    return lambda: int(process.memory_info().rss)


def _read_resident_pages() -> int:
    with open(_STATM, "rb") as file:
        return int(file.read().split()[1])


def measure_parent_memory() -> int:
    """Return the memory of the process that started this worker; 0 if this is no worker."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None:
        return 0
    import psutil

    with suppress(psutil.Error):
        return int(psutil.Process(parent.pid).memory_info().rss)
    return 0


def measure_available_memory() -> int:
    """Return the memory this process can still get: free memory, or less in a control group."""
    import psutil

    available = int(psutil.virtual_memory().available)
    for limit, used in _list_limits():
        with suppress(OSError, ValueError):  # "max": no limit
            available = min(available, int(limit.read_text()) - int(used.read_text()))
    return max(0, available)


@cache
def measure_total_memory() -> int:
    """Return the memory of this machine, or less in a control group; it does not change."""
    if sys.platform == "linux":  # for the first video that is opened: psutil is not loaded
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        import psutil

        total = int(psutil.virtual_memory().total)
    for limit, _ in _list_limits():
        with suppress(OSError, ValueError):  # "max": no limit
            total = min(total, int(limit.read_text()))
    return total


def get_loaded_cuda() -> Any:
    """Return torch.cuda if this process computes with it; else None.

    Only to measure memory: torch is not loaded for it, and CUDA is not started for it, which takes
    hundreds of megabytes.
    """
    torch: Any = sys.modules.get("torch")
    return torch.cuda if hasattr(torch, "cuda") and torch.cuda.is_initialized() else None


def list_used_devices(cuda: Any) -> tuple[int, ...]:
    """Return the numbers of the CUDA devices that this process has memory on."""
    return tuple(k for k in range(cuda.device_count()) if cuda.memory_reserved(k))


def release_cached_memory() -> None:
    """Return to the driver what torch has freed and keeps: other libraries can then get it."""
    if cuda := get_loaded_cuda():
        cuda.empty_cache()


def _list_limits() -> Iterator[tuple[Path, Path]]:
    """Yield the files with limit and use of each control group (v1 and v2) of this process."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, kinds, name = line.split(":", 2)
            if kinds in ("", "memory"):
                root = Path("/sys/fs/cgroup", kinds)
                ends = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kinds else (
                    "memory.max", "memory.current")  # fmt: skip
                group = root / name.lstrip("/")
                parents = (above for above in group.parents if above.is_relative_to(root))
                for folder in (group, *parents):
                    yield folder / ends[0], folder / ends[1]


@dataclass
class Peak:
    """How far the memory of this process rose inside `measure_peak`, in bytes."""

    bytes: int = 0


@contextmanager
def measure_peak() -> Iterator[Peak]:
    """Measure by how much this process grows at most inside the `with`.

    Garbage and freed memory are returned to the system first, since reusing them would not count.
    """
    peak, resident_bytes = Peak(), make_memory_meter()
    gc.collect()
    trim_heap()
    before = resident_bytes()
    if _reset_peak():
        yield peak
        peak.bytes = max(0, _read_peak() - before)
        return
    done = Event()

    def sample() -> None:
        while not done.wait(_SAMPLE_SECONDS):
            peak.bytes = max(peak.bytes, resident_bytes() - before)

    sampler = Thread(target=sample, name="memory", daemon=True)
    sampler.start()
    try:
        yield peak
    finally:
        done.set()
        sampler.join()
        peak.bytes = max(peak.bytes, resident_bytes() - before)


def _reset_peak() -> bool:
    """Reset the peak that Linux keeps for this process; return False on other systems."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _read_peak() -> int:
    words = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()
    return int(words[0]) * 1024


def return_freed_memory() -> None:
    """Return freed images to the system, now and from now on in this process (glibc only).

    By default glibc soon keeps pieces of up to 32 MiB for later, in a heap for each thread.
    """
    trim_heap()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _MAPPED_BYTES)


def trim_heap() -> None:
    """Return what is freed in the heap to the system now (glibc only)."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
