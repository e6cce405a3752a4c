"""Weights: what a model's published file is, where it lies, and whether it may be believed."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import get_ident

from filmgate.errors import BadSetting, BadWeights

HUB = "https://huggingface.co"
_BLOCK_BYTES = 1 << 20
_PLAIN = r"[A-Za-z0-9][\w.+-]*"  # a name without a place in it
Tell = Callable[[str, int, int], object]  # what is done, bytes so far, bytes in all


def endpoint() -> str:
    """The hub; HF_ENDPOINT names another one."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def nobody(doing: str, done: int, total: int) -> None:
    """Hears of progress and says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What somebody published: a definition, which the module of its family gives.

    `hub`: its repository there, "owner/name". `commercial` None: the licence leaves it open.
    `terms` must be accepted once. `proven`: the thing itself has been through `models try`. `flag`
    names another place of it on the command line.
    """

    name: str
    family: str
    licence: str
    commercial: bool | None
    hub: str = ""
    revision: str = "main"
    terms: str | None = None
    proven: bool = False
    flag: str = "--weights"

    @property
    def page(self) -> str:
        """Where a person reads what it is; HF_ENDPOINT names another hub."""
        return f"{endpoint()}/{self.hub}"

    @property
    def told(self) -> str:
        """What it is, in words."""
        return f"{self.name} ({self.hub}, {self.licence})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights(Published):
    """One published file of weights; `file` is its place in its family's folder.

    It comes from `url`, or from `hub` at `path`. `sha256` None: unknown, so that of the first file
    is recorded and wanted from then on; first digits will do. `size_bytes` may be `off_bytes` off:
    it was published rounded.
    """

    file: str
    size_bytes: int
    sha256: str | None = None
    path: str = ""
    url: str = ""
    off_bytes: int = 0

    def __post_init__(self) -> None:
        for field in ("name", "family", "file"):
            value = getattr(self, field)
            if not re.fullmatch(rf"{_PLAIN}(/{_PLAIN})*" if field == "file" else _PLAIN, value):
                raise BadSetting(f"{field} of weights is {value!r}: wanted a plain name")
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-f]{8,64}", self.sha256):
            raise BadSetting(f"sha256 of {self.name} is {self.sha256!r}: wanted 64 hex digits, or "
                             "the first 8 or more")  # fmt: skip
        if bool(self.url) == bool(self.hub and self.path):
            raise BadSetting(f"{self.name} wants a url, or a hub and a path there, and not both")
        if self.size_bytes <= 0:
            raise BadSetting(f"size_bytes of {self.name} is {self.size_bytes}: wanted 1 or more")

    @property
    def address(self) -> str:
        """Where it is fetched from."""
        return self.url or f"{self.page}/resolve/{self.revision}/{self.path}"

    def fits(self, size_bytes: int) -> bool:
        """Whether a file of this size may be it."""
        return abs(size_bytes - self.size_bytes) <= self.off_bytes

    @property
    def told(self) -> str:
        """Name, file, size and licence, in words."""
        return f"{self.name} ({self.file}, {in_words(self.size_bytes)}, {self.licence})"


@dataclass(frozen=True, slots=True)
class Shelf:
    """The models folder: files of weights, whose terms were accepted, and what was hashed."""

    path: Path

    @classmethod
    def here(cls) -> Shelf:
        """The folder that FILMGATE_MODELS names; without, ~/.cache/filmgate/models."""
        told = os.environ.get("FILMGATE_MODELS")
        return cls(
            Path(told).expanduser() if told else Path.home() / ".cache" / "filmgate" / "models"
        )

    def place(self, weights: Weights) -> Path:
        """Where the file lies once it is whole."""
        return self.path / weights.family / weights.file

    def home(self, one: Published) -> Path:
        """Where what belongs to its family lies."""
        return self.path / one.family

    def find(self, weights: Weights, given: Path | None = None) -> Path:
        """Where the file is: here, in the folder `given`, or `given` itself. Raises BadWeights."""
        if given is not None and given.is_file():
            return given
        inside = (weights.file, f"{weights.family}/{weights.file}", weights.path or weights.file)
        where = [given / name for name in inside] if given else [self.place(weights)]
        for path in where:
            if path.is_file():
                return path
        if given is not None:
            what = f"holds no {weights.file}" if given.is_dir() else "does not exist"
            raise BadWeights(f"{given} {what}: wanted the file {weights.file}, or a folder with it")
        raise BadWeights(
            f"the weights {weights.told} are not here: filmgate models pull {weights.name} fetches "
            f"them; or put the file at {where[0]}, or name where it lies with {weights.flag}"
        )

    def verified(
        self,
        weights: Weights,
        given: Path | None = None,
        *,
        again: bool = False,
        tell: Tell = nobody,
    ) -> Path:
        """The file, accepted and believed: what bears the published name is what was published.

        A file `given` under another name is its owner's affair: its keys and shapes will tell.
        Hashed once, and `again` when asked or when the file has changed. Raises BadWeights,
        BadSetting for terms that nobody has accepted.
        """
        self.agreed(weights)
        path = self.find(weights, given)
        if path.name == self.place(weights).name:
            try:
                self._published(weights, path, given, again, tell)
            except OSError as error:
                raise BadWeights(f"{path} can't be read: {error.strerror}; look at that disk, "
                                 "and at who may read it") from error  # fmt: skip
        return path

    def _published(
        self, weights: Weights, path: Path, given: Path | None, again: bool, tell: Tell
    ) -> None:
        size = path.stat().st_size
        if not weights.fits(size):
            raise BadWeights(f"{path} has {size:,} bytes, and {weights.told} has "
                             f"{weights.size_bytes:,}: {_cure(weights, given)}")  # fmt: skip
        found, wanted = self.sha256(path, again=again, tell=tell), self.wanted(weights)
        if wanted is None:
            self.record(weights, found)
        elif not found.startswith(wanted):
            raise BadWeights(f"{path} is damaged or not what was published: its sha256 is "
                             f"{found}, wanted {wanted}: {_cure(weights, given)}")  # fmt: skip

    def agreed(self, weights: Published) -> None:
        """Raises BadSetting where the terms are not accepted."""
        if not self.accepted(weights):
            raise BadSetting(f"{weights.told} come under terms that nobody has accepted here:\n"
                             f"{weights.terms}\nto accept them: filmgate models pull "
                             f"{weights.name} --accept")  # fmt: skip

    def accepted(self, weights: Published) -> bool:
        """Whether these very terms were accepted, or there are none."""
        if weights.terms is None:
            return True
        with suppress(OSError):
            return self._terms(weights).read_text(encoding="utf-8") == weights.terms
        return False

    def accept(self, weights: Published) -> None:
        """Remembers that the terms were accepted, by their text. Raises BadSetting."""
        if weights.terms is not None:
            self.put(self._terms(weights), weights.terms)

    def wanted(self, weights: Weights) -> str | None:
        """The sha256 that the file must have: the published one, or that of the first file."""
        if weights.sha256 is None:
            with suppress(OSError, IndexError):
                return self.recorded(weights).read_text(encoding="utf-8").split()[0]
        return weights.sha256

    def recorded(self, weights: Weights) -> Path:
        """Where the sha256 of the first file stands, as sha256sum writes it."""
        place = self.place(weights)
        return place.with_name(f"{place.name}.sha256")

    def record(self, weights: Weights, sha256: str) -> None:
        """From now on this one is wanted, where nothing was published."""
        if weights.sha256 is None:
            self.put(self.recorded(weights), f"{sha256}  {self.place(weights).name}\n")

    def sha256(self, path: Path, *, again: bool = False, tell: Tell = nobody) -> str:
        """The file's sha256; one that has not changed since is read only once."""
        before = _looks(path)
        with suppress(OSError, ValueError, KeyError, TypeError):
            mark = json.loads(self._mark(path).read_text(encoding="utf-8"))
            if not again and mark["looks"] == before:
                return str(mark["sha256"])
        found = sha256_of(path, tell)
        if _looks(path) == before:
            self.seen(path, found)
        return found

    def seen(self, path: Path, sha256: str) -> None:
        """Remembers what a file's sha256 is while it looks as it does now."""
        mark = {"path": str(path), "looks": _looks(path), "sha256": sha256}
        with suppress(BadSetting):  # a folder that can't be written: it is read again next time
            self.put(self._mark(path), json.dumps(mark))

    def _mark(self, path: Path) -> Path:
        return self.path / ".seen" / f"{_key(path)}.json"

    def _terms(self, weights: Published) -> Path:
        return self.home(weights) / f"{weights.name}.terms-accepted"

    def put(self, path: Path, text: str) -> None:
        """Writes a note, whole or not at all. Raises BadSetting."""
        aside = path.with_name(f".{path.name}.{os.getpid()}.{get_ident()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(aside, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except OSError as error:
            with suppress(OSError):
                aside.unlink()
            raise BadSetting(f"{path} can't be written: {error.strerror}; name another folder for "
                             "models with FILMGATE_MODELS") from error  # fmt: skip


def sha256_of(path: Path, tell: Tell = nobody) -> str:
    """The sha256 of a file, read through."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            done += len(block)
            tell("checking", done, total)
    return digest.hexdigest()


def in_words(size_bytes: float) -> str:
    """68882302 -> "68.9 MB"."""
    for unit in ("bytes", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.1f} {unit}" if unit != "bytes" else f"{size_bytes:.0f} bytes"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def plain(weights: Published) -> dict[str, object]:
    """The definition as JSON holds it."""
    return asdict(weights)


def _cure(weights: Weights, given: Path | None) -> str:
    pull = f"filmgate models pull {weights.name}"
    return f"{pull} fetches it" if given else f"{pull} fetches it again"


def _key(path: Path) -> str:
    return hashlib.sha256(str(path.absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _looks(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
