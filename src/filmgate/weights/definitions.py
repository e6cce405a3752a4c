"""Definitions of published weights: files, and folders of files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from filmgate.errors import BadSetting, BadWeights
from filmgate.units import format_bytes

HUB = "https://huggingface.co"
_PLAIN = r"[A-Za-z0-9][\w.+-]*"  # a name without a place in it


def endpoint() -> str:
    """The hub; HF_ENDPOINT names another one."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


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
        return f"{self.name} ({self.file}, {format_bytes(self.size_bytes)}, {self.licence})"


OPENED = (".safetensors", ".json", ".txt")  # nothing in them is ever run
Sizes = Mapping[str, tuple[int, str | None]]  # size in bytes and sha256, by path


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsRepository(Published):
    """A published folder, whose place is its family's. What lies in it, the hub is asked.

    `wanted` are patterns of paths in it, and each must find something; of "one|other" the first
    that does, and "one|" need not. Only what is OPENED is taken.
    """

    wanted: tuple[str, ...]

    def files(self, commit: str, there: Sizes) -> tuple[Weights, ...]:
        """Those wanted of what is `there` at a commit.

        Raises BadWeights where a wanted one is not there, or a path leads out of the folder.
        """
        at = f"{self.page} at {commit or self.revision}"
        for path in there:
            if path.startswith("/") or "\\" in path or ".." in path.split("/"):
                raise BadWeights(f"{at} lists {path!r}, which leads out of its folder: nothing of "
                                 "it is fetched")  # fmt: skip
        opened, found = [path for path in there if path.endswith(OPENED)], list[str]()
        for entry in self.wanted:
            ways = entry.split("|")
            paths = ([path for path in opened if fnmatchcase(path, way)] for way in ways)
            some = next(filter(None, paths), [])
            if not some and "" not in ways:
                raise BadWeights(f"{at} has no {' or '.join(ways)}: it was changed; get a newer "
                                 "Filmgate")  # fmt: skip
            found += some
        try:
            return tuple(self._file(commit, path, *there[path]) for path in dict.fromkeys(found))
        except (BadSetting, TypeError) as error:
            raise BadWeights(f"{at} lists what can't be: {error}") from error

    def _file(self, commit: str, path: str, size_bytes: int, sha256: str | None) -> Weights:
        # without terms: they are the folder's, and accepted for all of it
        return Weights(
            name=self.name, family=self.family, file=path, size_bytes=size_bytes, sha256=sha256,
            licence=self.licence, commercial=self.commercial, proven=self.proven,
            hub=self.hub, path=path, revision=commit,
        )  # fmt: skip
