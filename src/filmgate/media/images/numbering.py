"""Numbered image files: find, sort and name them, and check for gaps."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

from filmgate.errors import BadInput, BadSetting
from filmgate.media.options import IMAGE_SUFFIXES
from filmgate.storage.file_kind import check_input_file, describe_other_kind

DEFAULT_NAME = "%06d.png"  # of images in an output that is named as a folder
_SHOWN = 5  # names of files that are left out


def find_images(path: Path) -> tuple[Path, ...]:
    """Return the images that `path` names in natural order: one, a folder's, or a pattern's.

    A pattern has %d, %06d, * or ?. Missing numbers are an error, except with * or ?, which take
    the files there are. Raises BadInput.
    """
    if path.is_file():
        return (path,)
    is_pattern = compile_number_pattern(path.name) or any(sign in path.name for sign in "*?[")
    if not is_pattern and not path.is_dir():
        check_input_file(path, "an image, or a folder of images")
    folder = path if path.is_dir() else path.parent
    if not folder.is_dir():
        raise BadInput(f"the folder {folder} does not exist: check the name")
    names = [name for name in os.listdir(folder) if is_named_by(name, path)]
    for name in names:
        if kind := describe_other_kind(folder / name):
            raise BadInput(f"{folder / name} is {kind}, wanted an image: move it elsewhere")
    if not names:
        raise BadInput(
            f"{path} has no images: wanted a folder with some, a pattern (frames/%06d.png, "
            f"frames/*.jpg) or a file; names end in {', '.join(IMAGE_SUFFIXES)}"
        )
    kinds = Counter(Path(name).suffix.lower().replace("jpeg", "jpg") for name in names)
    if len(kinds) > 1:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        raise BadInput(
            f"{path} has {counts}, wanted one kind: name it, e.g. {folder / '*'}{min(kinds)}"
        )
    names.sort(key=_natural_key)
    if path.is_dir() or compile_number_pattern(path.name):
        _check_numbers(folder, names)
    return tuple(folder / name for name in names)


def is_named_by(name: str, path: Path) -> bool:
    """Return whether an image of this name is one of those that `path` names, in its folder."""
    if name.startswith("."):
        return False
    if path.is_dir():
        return Path(name).suffix.lower() in IMAGE_SUFFIXES
    pattern = compile_number_pattern(path.name)
    return bool(pattern.fullmatch(name)) if pattern else fnmatchcase(name, path.name)


def is_named_by_number(name: str, pattern: Path) -> bool:
    """Return whether a pattern with %d or %06d names an image, on disks without case too."""
    compiled = compile_number_pattern(pattern.name.casefold())
    return compiled is not None and bool(compiled.fullmatch(name.casefold()))


def describe_skipped(names: Sequence[str], wanted: str) -> str:
    """Return a notice about files of a folder that are not taken; empty if there are none."""
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    shown = ", ".join(sorted(names)[:_SHOWN])
    return f"{shown}{more} {'are' if len(names) > 1 else 'is'} left out: wanted {wanted}"


def find_skipped(path: Path, images: Collection[Path]) -> str:
    """Return a notice about the files in the folder `path` that are not among `images`."""
    if not path.is_dir():
        return ""
    names = {image.name for image in images}
    others = [name for name in os.listdir(path) if name not in names and not name.startswith(".")]
    return describe_skipped(others, f"images that end in {', '.join(IMAGE_SUFFIXES)}")


def compile_number_pattern(name: str) -> re.Pattern[str] | None:
    """Return what a name with %d or %06d matches, its number as the group; None without one."""
    parts = re.split(r"%(0\d+)?d", name)
    if len(parts) != 3:
        return None
    start, width, end = (part and part.replace("%%", "%") for part in parts)
    digits = rf"\d{{{int(width)}}}|[1-9]\d{{{int(width)},}}" if width else r"0|[1-9]\d*"
    return re.compile(f"{re.escape(start)}({digits}){re.escape(end)}")


def format_image_name(pattern: str, number: int) -> str:
    """Return a pattern with %d or %06d as the name of image `number`."""

    def format_digits(match: re.Match[str]) -> str:
        return f"{number:{match[1] or ''}d}"

    return re.sub(r"%(0\d+)?d", format_digits, pattern).replace("%%", "%")


def parse_output(text: str, folder: Path = Path()) -> Path:
    """Return an output as a path in `folder`; a name that ends in / is a folder of PNG files.

    Raises BadSetting if that folder holds other files.
    """
    path = Path(text) if text == "-" else folder / text
    if not text.endswith(("/", os.sep)):
        return path
    pattern = path / DEFAULT_NAME
    if path.is_dir():
        check_image_folder(pattern)
    return pattern


def check_image_folder(pattern: Path) -> None:
    """Raise BadSetting if the folder of an output holds other files than images of its pattern."""
    images = {image.name for _, image in list_numbered_images(pattern)}
    for name in sorted(os.listdir(pattern.parent)):
        if name not in images and not name.startswith("."):
            raise BadSetting(
                f"the folder {pattern.parent} contains other files, such as {name}: choose a new "
                f"folder, or write {pattern} to add images to this one"
            )


def list_numbered_images(pattern: Path) -> Iterator[tuple[int, Path]]:
    """Yield (number, path) of the existing files that a pattern with %d or %06d matches."""
    compiled = compile_number_pattern(pattern.name)
    assert compiled is not None
    for name in sorted(os.listdir(pattern.parent)):
        if match := compiled.fullmatch(name):
            yield int(match[1]), pattern.with_name(name)


def count_images(pattern: Path) -> int:
    """Return how many files a pattern with %d or %06d matches; 0 for any other path."""
    if compile_number_pattern(pattern.name) is None or not pattern.parent.is_dir():
        return 0
    return sum(1 for _ in list_numbered_images(pattern))


def _natural_key(name: str) -> tuple[list[int | str], str]:
    parts = re.split(r"(\d+)", name)
    return [int(part) if n % 2 else part.casefold() for n, part in enumerate(parts)], name


def _check_numbers(folder: Path, names: list[str]) -> None:
    """Raise BadInput if the files are named by one number each and some are missing."""
    splits = [re.fullmatch(r"(.*?)(\d+)(\D*)", name) for name in names]
    matches = [match for match in splits if match]
    if len(matches) < len(names) or len({(match[1], match[3]) for match in matches}) > 1:
        return
    gaps = []
    for before, after in pairwise(matches):
        first, last = int(before[2]) + 1, int(after[2]) - 1
        width = len(before[2])
        if first > last + 1:
            raise BadInput(
                f"{folder} has {before[0]} and {after[0]}, the same number twice: remove one"
            )
        if first == last:
            gaps.append(f"frame {first:0{width}d} is missing")
        elif first < last:
            gaps.append(f"frames {first:0{width}d} to {last:0{width}d} are missing")
    if gaps:
        more = f" and {len(gaps) - 3} more gaps" if len(gaps) > 3 else ""
        glob = folder / f"{matches[0][1]}*{matches[0][3]}"
        raise BadInput(f"{folder}: {', '.join(gaps[:3])}{more}: add them, or pass {glob} to use "
                       "the files there are")  # fmt: skip
