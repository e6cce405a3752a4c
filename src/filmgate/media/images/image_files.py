"""The numbered files of an image output: written, published, recognized and deleted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from filmgate.core.prefetch import map_threads
from filmgate.core.snapshot import Commit
from filmgate.errors import BadSetting, FilmgateError, OutputExists
from filmgate.media.images.numbering import (
    DEFAULT_NAME,
    compile_number_pattern,
    format_image_name,
    list_numbered_images,
)
from filmgate.media.options import check_image_name
from filmgate.storage.atomic import (
    MAX_NAME_BYTES,
    fsync_directory,
    replace_durably,
    write_atomic,
)

_CHECKSUM_BYTES = 8
_LARGE_NUMBER = 9_999_999  # of an image; names of nearly all videos are shorter


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """The images of one commit: the number of the first, and a checksum of each, in order."""

    first: int
    checksums: bytes

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Yield the number and the checksum of each image."""
        for n in range(len(self.checksums) // _CHECKSUM_BYTES):
            start = n * _CHECKSUM_BYTES
            yield self.first + n, self.checksums[start : start + _CHECKSUM_BYTES]


class ImageFiles:
    """Files that `pattern` names by number (frames/%06d.png).

    With `staging`, a folder that survives the process, each image is written there first and then
    hard linked to its name. So images that a killed run wrote after its last commit are the same
    files as staged ones; others are the user's and never touched. Where a link is not possible,
    or may replace a file (`overwrite`), images get their names at commits.
    """

    def __init__(self, pattern: Path, staging: Path | None = None, overwrite: bool = False) -> None:
        self.pattern, self.folder = pattern, pattern.parent
        self._staging, self._overwrite = staging, overwrite

    def path(self, number: int) -> Path:
        """Return the path of an image."""
        return self.pattern.with_name(format_image_name(self.pattern.name, number))

    def write(self, number: int, data: bytes) -> bytes:
        """Write an image durably and return its checksum. Raises OSError, OutputExists."""
        path = self.path(number)
        if self._staging is None:
            if not self._overwrite and os.path.lexists(path):
                raise explain_exists(path)
            write_atomic(path, data)
            return _checksum(data)
        staged = self._staged(number)
        with open(staged, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not self._overwrite:
            try:
                os.link(staged, path)
            except FileExistsError as error:
                raise explain_exists(path) from error
            except OSError:  # the disk has no links, or `staging` is on another disk
                pass
        return _checksum(data)

    def sync(self) -> None:
        """Make the names durable that were given so far."""
        fsync_directory(self.folder)
        if self._staging is not None:
            fsync_directory(self._staging)

    def publish(self, batch: ImageBatch) -> None:
        """Give the images of a commit their names if they have none yet. Raises OutputExists."""
        for number, _ in batch:
            staged, path = self._staged(number), self.path(number)
            if not staged.exists() or _is_same(staged, path):
                continue
            if not self._overwrite and os.path.lexists(path):
                raise explain_exists(path)
            replace_durably(staged, path)

    def release(self, batch: ImageBatch) -> None:
        """Delete the staged names of a commit's images; the images stay."""
        for number, _ in batch:
            self._staged(number).unlink(missing_ok=True)

    def check_intact(self, batch: ImageBatch, threads: int) -> None:
        """Raise FilmgateError if an image of a commit is missing or not what was written."""

        def is_changed(image: tuple[int, bytes]) -> bool:
            path, staged = self.path(image[0]), self._staged(image[0])
            if _has(path, {image[1]}):
                return False
            may_publish = self._overwrite or not os.path.lexists(path)
            return not (may_publish and _has(staged, {image[1]}))

        images = list(batch)
        changed = map_threads(is_changed, images, threads) if images else []
        if any(changed):
            path = self.path(images[changed.index(True)][0])
            raise FilmgateError(f"{path} is missing or was changed")

    def discard_after(self, kept: int, commits: Iterable[Commit] = ()) -> None:
        """Delete what this run wrote from image `kept` on, listed in `commits` or not."""
        written = _list_checksums(commits)
        for number in sorted({*written, *self._list_staged()}):
            if number >= kept:
                if self._is_ours(number, written):
                    self.path(number).unlink()
                self._staged(number).unlink(missing_ok=True)

    def check_free(self, kept: int = 0, commits: Iterable[Commit] = ()) -> None:
        """Raise OutputExists if there is an image from `kept` on that this run did not write."""
        if self._overwrite:
            return
        written = _list_checksums(commits)
        foreign = [
            path
            for number, path in list_numbered_images(self.pattern)
            if number >= kept and not self._is_ours(number, written)
        ]
        if foreign:
            raise explain_exists(*foreign)

    def _staged(self, number: int) -> Path:
        assert self._staging is not None
        return self._staging / f"{number:06}{self.pattern.suffix.lower()}"

    def _is_ours(self, number: int, written: Mapping[int, set[bytes]]) -> bool:
        """Whether an image is as this run wrote it; of committed ones the content decides."""
        path = self.path(number)
        if number in written:
            return _has(path, written[number])
        return self._staging is not None and _is_same(self._staged(number), path)

    def _list_staged(self) -> Iterator[int]:
        assert self._staging is not None
        suffix = self.pattern.suffix.lower()
        for name in sorted(os.listdir(self._staging)):
            stem, ending = os.path.splitext(name)
            if ending == suffix and stem.isdecimal():
                yield int(stem)


def resolve_pattern(path: Path) -> Path:
    """Return the pattern of an output: `path`, or %06d.png in the folder. Raises BadSetting."""
    if path.is_dir() or not (path.suffix or compile_number_pattern(path.name)):
        path = path / DEFAULT_NAME
    check_image_name(path, numbered=compile_number_pattern(path.name) is not None)
    longest = os.fsencode(format_image_name(path.name, _LARGE_NUMBER))
    if len(longest) > MAX_NAME_BYTES:
        raise BadSetting(
            f"names of the images have {len(longest)} bytes, wanted at most {MAX_NAME_BYTES}: "
            "shorten the name of the output"
        )
    if not path.parent.parent.is_dir():
        raise BadSetting(f"the folder {path.parent.parent} does not exist: make it first")
    return path


def explain_exists(path: Path, *others: Path) -> OutputExists:
    """Return the error for images that exist and were not written by this run."""
    more = f" and {len(others)} more" if others else ""
    return OutputExists(
        f"{path} exists{more}, not written by this run or changed since: choose another folder, or "
        "pass --overwrite to replace images"
    )


def _list_checksums(commits: Iterable[Commit]) -> dict[int, set[bytes]]:
    """Return the checksums that images have in commits, by number."""
    checksums: dict[int, set[bytes]] = {}
    for commit in commits:
        for batch in commit.pieces:
            for number, checksum in batch:
                checksums.setdefault(number, set()).add(checksum)
    return checksums


def _checksum(data: bytes) -> bytes:
    return blake2b(data, digest_size=_CHECKSUM_BYTES).digest()


def _has(path: Path, checksums: set[bytes]) -> bool:
    """Return whether the content of a file has one of the checksums; False if it is missing."""
    try:
        return bool(checksums) and _checksum(path.read_bytes()) in checksums
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return False


def _is_same(one: Path, other: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.lstat(one), os.lstat(other))
    return False
