"""Numbered image files: find, sort and name them, and check for gaps."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

from filmgate.errors import BadInput
from filmgate.media.options import IMAGE_SUFFIXES


def find_images(path: Path) -> tuple[Path, ...]:
    """Return the images that `path` names in natural order: one, a folder's, or a pattern's.

    A pattern has %d, %06d, * or ?. Missing numbers are an error, except with * or ?, which take
    the files there are. Raises BadInput.
    """
    if path.is_file():
        return (path,)
    folder = path if path.is_dir() else path.parent
    if not folder.is_dir():
        raise BadInput(f"the folder {folder} does not exist: check the name")
    names = [name for name in os.listdir(folder) if not name.startswith(".")]
    pattern = compile_number_pattern(path.name) if not path.is_dir() else None
    if path.is_dir():
        names = [name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    elif pattern:
        names = [name for name in names if pattern.fullmatch(name)]
    else:
        names = [name for name in names if fnmatchcase(name, path.name)]
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
    if pattern or path.is_dir():
        _check_numbers(folder, names)
    return tuple(folder / name for name in names)


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


def list_numbered_images(pattern: Path) -> Iterator[tuple[int, Path]]:
    """Yield (number, path) of the existing files that a pattern with %d or %06d matches."""
    compiled = compile_number_pattern(pattern.name)
    assert compiled is not None
    for name in sorted(os.listdir(pattern.parent)):
        if match := compiled.fullmatch(name):
            yield int(match[1]), pattern.with_name(name)


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
