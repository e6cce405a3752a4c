"""Results of stages on disk: whole or absent, checked when read, the longest unused go first."""

import os
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from filmgate.errors import BadSetting
from filmgate.storage.atomic import ASIDE, put_in_place
from filmgate.units import parse_bytes

FOLDER, SIZE = "FILMGATE_CACHE", "FILMGATE_CACHE_SIZE"  # of the environment
BUDGET_BYTES = 10 * 1024**3
SUFFIX = ".result"
_MARK = b"filmgate result 1\n"  # another number: another layout, which is not read
_COUNTS = ("hits", "misses", "kept", "damaged", "refused", "forgotten")
_LOST_S = 3600  # so old, a file that is not whole was left behind by a process that died
_TOLD = 64  # look-ups between two lines in the file of counts


@dataclass(frozen=True, slots=True)
class Kept:
    """One file that the cache holds."""

    path: Path
    size_bytes: int
    used: float  # seconds since 1970


@dataclass
class Cache:
    """A folder of results under `budget_bytes`, used by any number of processes at once.

    It may forget anything at any moment and never gives anything but what was put: what is
    damaged is thrown away, counted, and made again by who asked. Nothing raises because of the
    disk.
    """

    folder: Path
    budget_bytes: int = BUDGET_BYTES
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0))
    told: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0))
    room_bytes: int | None = None  # until the folder must be looked at again; None: not yet

    def __post_init__(self) -> None:
        weakref.finalize(self, _tell, self.folder, self.counts, self.told)

    def get(self, name: str) -> bytes | None:
        """What was put under that name, if it is here and whole."""
        path = self._path(name)
        data: bytes | None = None
        try:
            data = path.read_bytes()
            os.utime(path)
        except FileNotFoundError:
            pass  # never put, forgotten, or forgotten since the line before
        except OSError:
            self._count("damaged")
        if data is None:
            self._count("misses")
            return None
        head = len(_MARK) + 32
        payload = memoryview(data)[head:]
        if data[:head] != _MARK + _check(name, payload):
            self.damaged(name)
            self._count("misses")
            return None
        self._count("hits")
        return bytes(payload)

    def put(self, name: str, data: bytes) -> None:
        """Keeps it, unless it is too big or the disk will not."""
        path, size = self._path(name), len(_MARK) + 32 + len(data)
        if size > self.budget_bytes:
            self._count("refused")
            return
        if self.room_bytes is None or size > self.room_bytes:
            self._make_room(size)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            put_in_place(path, (_MARK, _check(name, data), data))
        except OSError:
            self._count("refused")
            return
        self.room_bytes = (self.room_bytes or 0) - size
        self._count("kept")

    def damaged(self, name: str) -> None:
        """What lies under that name is thrown away and counted."""
        self._count("damaged")
        with suppress(OSError):
            self._path(name).unlink()

    def files(self) -> Iterator[Kept]:
        """All that lies here now, in no order; what is not whole too."""
        for folder in _scanned(self.folder):
            for entry in _scanned(Path(folder.path)) if folder.is_dir() else ():
                with suppress(OSError):
                    seen = entry.stat()
                    yield Kept(Path(entry.path), seen.st_size, seen.st_mtime)

    def clean(self) -> int:
        """Forgets everything, what was counted too; gives the bytes that are free again."""
        freed = sum(self._forget(one) for one in self.files())
        for counted in (self.counts, self.told):
            counted.update(dict.fromkeys(_COUNTS, 0))
        for path in (self.folder / "counts", *self.folder.glob("films/*.json")):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        self.room_bytes = None
        return freed

    def tell(self) -> None:
        """Adds what was counted here to what all processes counted."""
        _tell(self.folder, self.counts, self.told)

    def total(self) -> dict[str, int]:
        """What all processes counted, by what; lines that make no sense are left out."""
        self.tell()
        sums = dict.fromkeys(_COUNTS, 0)
        try:
            lines = (self.folder / "counts").read_bytes().splitlines()
        except OSError:
            return dict(self.counts)
        for line in lines:
            words = line.split()
            if len(words) == len(_COUNTS) and all(word.isdigit() for word in words):
                for name, word in zip(_COUNTS, words, strict=True):
                    sums[name] += int(word)
        return sums

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / f"{name}{SUFFIX}"

    def _count(self, what: str) -> None:
        self.counts[what] += 1
        looked = ("hits", "misses", "damaged")
        if sum(self.counts[k] - self.told[k] for k in looked) >= _TOLD or what == "damaged":
            self.tell()

    def _make_room(self, wanted_bytes: int) -> None:
        """Forgets the longest unused until an eighth is free; how much is, is known again.

        Only a sixteenth of the budget is spent before the next look, as others write here too.
        """
        held = sorted(self.files(), key=lambda one: one.used)
        total, lost = sum(one.size_bytes for one in held), time.time() - _LOST_S
        over = total + wanted_bytes > self.budget_bytes
        limit = self.budget_bytes * 7 // 8 if over else self.budget_bytes
        for one in held:
            if one.path.suffix == ASIDE and one.used < lost:
                total -= self._forget(one)
            elif one.path.suffix == SUFFIX and total + wanted_bytes > limit:
                total -= self._forget(one)
                self.counts["forgotten"] += 1
        free = max(0, self.budget_bytes - total)
        self.room_bytes = min(free, max(wanted_bytes, self.budget_bytes // 16))

    def _forget(self, one: Kept) -> int:
        try:
            one.path.unlink()
        except FileNotFoundError:
            return one.size_bytes  # somebody else was first
        except OSError:
            return 0
        return one.size_bytes


def default_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where results lie where nobody said: $FILMGATE_CACHE, else the user's folder of caches."""
    if environ.get(FOLDER):
        return Path(environ[FOLDER]) / "results"
    home = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "filmgate" / "results"


def opened(folder: Path | None = None, environ: Mapping[str, str] = os.environ) -> Cache:
    """The cache of this machine's user, or one in `folder`; $FILMGATE_CACHE_SIZE is its budget."""
    size = environ.get(SIZE)
    try:
        budget = parse_bytes(size) if size else BUDGET_BYTES
    except BadSetting as error:
        raise BadSetting(f"{SIZE} is no size: {error}") from error
    return Cache(default_folder(environ) if folder is None else folder, budget)


def _tell(folder: Path, counts: dict[str, int], told: dict[str, int]) -> None:
    new = [counts[name] - told[name] for name in _COUNTS]
    if any(new):
        told.update(counts)
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with open(folder / "counts", "ab", buffering=0) as file:
                file.write(f"{' '.join(map(str, new))}\n".encode())  # one write: never mixed


def _check(name: str, data: bytes | memoryview) -> bytes:
    """The name counts too: a file under another name is damage."""
    return blake2b(data, key=name.encode(), digest_size=32).digest()


def _scanned(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
