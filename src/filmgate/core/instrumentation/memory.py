"""What things weigh: bytes of a plain value, of this process, and of what this machine can give."""

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

_MMAP_THRESHOLD = -3  # malloc.h
_MAPPED_BYTES = 1 << 20  # smaller pieces cost more time to fetch anew than they weigh
_SAMPLED_S = 0.001  # between two looks at the process, where the system keeps no peak


def resident_meter() -> Callable[[], int]:
    """A function that says how much memory of this process lies in RAM, in bytes."""
    import psutil

    process = psutil.Process()
    return lambda: int(process.memory_info().rss)


def available_bytes() -> int:
    """What this machine can still give to this process: free memory, or less if it is confined."""
    import psutil

    spare = int(psutil.virtual_memory().available)
    for limit, used in _confines():
        with suppress(OSError, ValueError):  # "max": no limit
            spare = min(spare, int(limit.read_text()) - int(used.read_text()))
    return max(0, spare)


def cuda_in_use() -> Any:
    """torch.cuda where torch is loaded already and has a device; else None."""
    torch: Any = sys.modules.get("torch")
    return torch.cuda if torch and torch.cuda.is_available() else None


def _confines() -> Iterator[tuple[Path, Path]]:
    """Limit and use of memory of each control group that this process is in, of both versions."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, kinds, name = line.split(":", 2)
            if kinds in ("", "memory"):
                root = Path("/sys/fs/cgroup", kinds)
                ends = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kinds else (
                    "memory.max", "memory.current")  # fmt: skip
                at = root / name.lstrip("/")
                for folder in (at, *(above for above in at.parents if above.is_relative_to(root))):
                    yield folder / ends[0], folder / ends[1]


@dataclass
class Peak:
    """How far the memory of this process rose inside `measure_peak`, in bytes."""

    bytes: int = 0


@contextmanager
def measure_peak() -> Iterator[Peak]:
    """Measures by how much this process grows at most while the `with` lasts.

    What is garbage and what was freed before is given back first, so that none is used again
    unseen.
    """
    peak, resident_bytes = Peak(), resident_meter()
    gc.collect()
    _trim()
    before = resident_bytes()
    if _reset_peak():
        yield peak
        peak.bytes = max(0, _kept_peak() - before)
        return
    done = Event()

    def watch() -> None:
        while not done.wait(_SAMPLED_S):
            peak.bytes = max(peak.bytes, resident_bytes() - before)

    watcher = Thread(target=watch, name="memory", daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()
        peak.bytes = max(peak.bytes, resident_bytes() - before)


def _reset_peak() -> bool:
    """Linux forgets the peak so far; False elsewhere."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _kept_peak() -> int:
    words = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()
    return int(words[0]) * 1024


def return_freed_memory() -> None:
    """Freed pictures go back to the system, now and from now on in this process (glibc only).

    By itself glibc soon keeps pieces of up to 32 MiB for later, in a heap for each thread.
    """
    _trim()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _MAPPED_BYTES)


def _trim() -> None:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
