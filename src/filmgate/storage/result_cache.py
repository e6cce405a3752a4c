"""Results of stages on disk: checked when they are read; the least recently used are evicted."""

import os
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from filmgate.errors import BadSetting
from filmgate.storage.atomic import TEMPORARY_SUFFIX, write_atomic
from filmgate.units import parse_bytes

FOLDER, SIZE = "FILMGATE_CACHE", "FILMGATE_CACHE_SIZE"  # environment variables
BUDGET_BYTES = 10 * 1024**3
SUFFIX = ".result"
HASHES = "hashes"  # the folder of remembered hashes of source files
_MAGIC = b"filmgate result 1\n"  # the number changes with the layout
_COUNTS = ("hits", "misses", "kept", "damaged", "refused", "forgotten")
_ABANDONED_S = 3600  # a temporary file of this age was left by a process that died
_LOOKUPS_PER_REPORT = 64  # between two lines in the file of counts


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One file in the cache."""

    path: Path
    size_bytes: int
    used: float  # seconds since 1970


@dataclass
class ResultCache:
    """A folder of results under `budget_bytes`, shared by any number of processes without locks.

    `get` returns exactly what was put, or None: results may be evicted at any time, and a damaged
    one is deleted and counted. Errors of the disk are counted, never raised.
    """

    folder: Path
    budget_bytes: int = BUDGET_BYTES
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0))
    reported: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0))
    room_bytes: int | None = None  # that may be written before the folder is scanned again

    def __post_init__(self) -> None:
        weakref.finalize(self, _report_counts, self.folder, self.counts, self.reported)

    def get(self, name: str) -> bytes | None:
        """Return what was put under `name`; None if it is missing or damaged."""
        path = self._path(name)
        data: bytes | None = None
        try:
            data = path.read_bytes()
            os.utime(path)
        except FileNotFoundError:
            pass  # never put, or evicted by another process even after it was read
        except OSError:
            self._count("damaged")
        if data is None:
            self._count("misses")
            return None
        start = len(_MAGIC) + 32
        payload = memoryview(data)[start:]
        if data[:start] != _MAGIC + _digest(name, payload):
            self.discard(name)
            self._count("misses")
            return None
        self._count("hits")
        return bytes(payload)

    def put(self, name: str, data: bytes) -> None:
        """Store `data` under `name`, unless it is over the budget or cannot be written."""
        path, size = self._path(name), len(_MAGIC) + 32 + len(data)
        if size > self.budget_bytes:
            self._count("refused")
            return
        if self.room_bytes is None or size > self.room_bytes:
            self._make_room(size)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, _MAGIC, _digest(name, data), data)
        except OSError:
            self._count("refused")
            return
        self.room_bytes = (self.room_bytes or 0) - size
        self._count("kept")

    def discard(self, name: str) -> None:
        """Delete the result under `name` and count it as damaged."""
        self._count("damaged")
        with suppress(OSError):
            self._path(name).unlink()

    def files(self) -> Iterator[CacheEntry]:
        """Yield results and temporary files in no particular order; other files are the user's."""
        for folder in _scan(self.folder):
            if len(folder.name) != 2 or not folder.is_dir():
                continue
            for entry in _scan(Path(folder.path)):
                if not _is_own(entry.name, folder.name):
                    continue
                with suppress(OSError):
                    stat = entry.stat()
                    yield CacheEntry(Path(entry.path), stat.st_size, stat.st_mtime)

    def clean(self) -> int:
        """Delete all results and counts; return the bytes that were freed."""
        freed = sum(self._delete(entry) for entry in self.files())
        for counts in (self.counts, self.reported):
            counts.update(dict.fromkeys(_COUNTS, 0))
        with suppress(OSError):
            path = self.folder / "counts"
            if all(map(_read_counts, path.read_bytes().splitlines())):  # else it is the user's
                path.unlink()
        self.room_bytes = None
        return freed

    def report_counts(self) -> None:
        """Add this process's counts to those of all processes."""
        _report_counts(self.folder, self.counts, self.reported)

    def total(self) -> dict[str, int]:
        """Return the counts of all processes; lines that cannot be parsed are left out."""
        self.report_counts()
        sums = dict.fromkeys(_COUNTS, 0)
        try:
            lines = (self.folder / "counts").read_bytes().splitlines()
        except OSError:
            return dict(self.counts)
        for line in lines:
            for name, value in _read_counts(line).items():
                sums[name] += value
        return sums

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / f"{name}{SUFFIX}"

    def _count(self, what: str) -> None:
        self.counts[what] += 1
        lookups = sum(self.counts[k] - self.reported[k] for k in ("hits", "misses", "damaged"))
        if lookups >= _LOOKUPS_PER_REPORT or what == "damaged":
            self.report_counts()

    def _make_room(self, wanted_bytes: int) -> None:
        """Evict the least recently used until an eighth is free, and measure what is free.

        Only a sixteenth of the budget is spent before the next scan: other processes write too.
        """
        entries = sorted(self.files(), key=lambda entry: entry.used)
        total = sum(entry.size_bytes for entry in entries)
        abandoned = time.time() - _ABANDONED_S
        over = total + wanted_bytes > self.budget_bytes
        limit = self.budget_bytes * 7 // 8 if over else self.budget_bytes
        for entry in entries:
            if entry.path.suffix == TEMPORARY_SUFFIX and entry.used < abandoned:
                total -= self._delete(entry)
            elif entry.path.suffix == SUFFIX and total + wanted_bytes > limit:
                total -= self._delete(entry)
                self.counts["forgotten"] += 1
        free = max(0, self.budget_bytes - total)
        self.room_bytes = min(free, max(wanted_bytes, self.budget_bytes // 16))

    def _delete(self, entry: CacheEntry) -> int:
        try:
            entry.path.unlink()
        except FileNotFoundError:
            return entry.size_bytes  # another process was first
        except OSError:
            return 0
        return entry.size_bytes


def find_cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the default folder: in $FILMGATE_CACHE, else in the user's cache folder."""
    if environ.get(FOLDER):
        return Path(environ[FOLDER]) / "results"
    home = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "filmgate" / "results"


def open_cache(folder: Path | None = None, environ: Mapping[str, str] = os.environ) -> ResultCache:
    """Return the user's cache, or one in `folder`; $FILMGATE_CACHE_SIZE sets its budget.

    Raises BadSetting for a budget that is no size, and for a cache that is no folder.
    """
    size = environ.get(SIZE)
    try:
        budget = parse_bytes(size) if size else BUDGET_BYTES
    except BadSetting as error:
        raise BadSetting(f"{SIZE} is not a size: {error}") from error
    place = find_cache_folder(environ) if folder is None else folder
    for path in (place.parent, place):
        if path.exists() and not path.is_dir():
            raise BadSetting(f"the cache {path} is no folder: set {FOLDER} to a folder")
    return ResultCache(place, budget)


def _report_counts(folder: Path, counts: dict[str, int], reported: dict[str, int]) -> None:
    new = [counts[name] - reported[name] for name in _COUNTS]
    if any(new):
        reported.update(counts)
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with open(folder / "counts", "ab", buffering=0) as file:
                file.write(f"{' '.join(map(str, new))}\n".encode())  # one write: never mixed


def _read_counts(line: bytes) -> dict[str, int]:
    """Return the counts of a line; none if it cannot be parsed."""
    values = line.split()
    if len(values) != len(_COUNTS) or not all(value.isdigit() for value in values):
        return {}
    return dict(zip(_COUNTS, map(int, values), strict=True))


def _digest(name: str, data: bytes | memoryview) -> bytes:
    """Return the checksum of a result; a file under another name is damaged too."""
    return blake2b(data, key=name.encode(), digest_size=32).digest()


def _is_own(name: str, folder: str) -> bool:
    """Return whether a name is that of a result or temporary file in a folder of results."""
    start = "." if name.endswith(TEMPORARY_SUFFIX) else folder
    return name.startswith(start) and name.endswith((SUFFIX, TEMPORARY_SUFFIX))


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
