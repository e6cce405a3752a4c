"""Numbered image files: found, sorted, named and checked for gaps."""

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


def found(path: Path) -> tuple[Path, ...]:
    """The images that `path` names, in natural order: one, a folder's, a pattern's (%d, * ?).

    Numbers that are missing are an error, but not where * or ? says to take what there is.
    Raises BadInput.
    """
    if path.is_file():
        return (path,)
    folder = path if path.is_dir() else path.parent
    if not folder.is_dir():
        raise BadInput(f"the folder {folder} does not exist: check the name")
    names = [name for name in os.listdir(folder) if not name.startswith(".")]
    counted = numbered(path.name) if not path.is_dir() else None
    if path.is_dir():
        names = [name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    elif counted:
        names = [name for name in names if counted.fullmatch(name)]
    else:
        names = [name for name in names if fnmatchcase(name, path.name)]
    if not names:
        raise BadInput(
            f"{path} names no image: wanted a folder, a pattern (frames/%06d.png, frames/*.jpg) or "
            f"a file that ends in {', '.join(IMAGE_SUFFIXES)}"
        )
    kinds = Counter(Path(name).suffix.lower().replace("jpeg", "jpg") for name in names)
    if len(kinds) > 1:
        has = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        raise BadInput(f"{path} holds {has}: say which, for example {folder / '*'}{min(kinds)}")
    names.sort(key=_natural)
    if counted or path.is_dir():
        _check_numbers(folder, names)
    return tuple(folder / name for name in names)


def numbered(name: str) -> re.Pattern[str] | None:
    """What a name with %d or %06d in it matches, its number as the group; None if it has none."""
    parts = re.split(r"%(0\d+)?d", name)
    if len(parts) != 3:
        return None
    begin, wide, end = (part and part.replace("%%", "%") for part in parts)
    digits = rf"\d{{{int(wide)}}}|[1-9]\d{{{int(wide)},}}" if wide else r"0|[1-9]\d*"
    return re.compile(f"{re.escape(begin)}({digits}){re.escape(end)}")


def _natural(name: str) -> tuple[list[int | str], str]:
    parts = re.split(r"(\d+)", name)
    return [int(part) if n % 2 else part.casefold() for n, part in enumerate(parts)], name


def _check_numbers(folder: Path, names: list[str]) -> None:
    """Raises BadInput if files are named by one number each and some are missing."""
    split = [re.fullmatch(r"(.*?)(\d+)(\D*)", name) for name in names]
    told = [match for match in split if match]
    if len(told) < len(names) or len({(match[1], match[3]) for match in told}) > 1:
        return
    gaps = []
    for before, after in pairwise(told):
        first, last = int(before[2]) + 1, int(after[2]) - 1
        wide = len(before[2])
        if first > last + 1:
            raise BadInput(f"{folder} holds {before[0]} and {after[0]}: one number twice")
        if first == last:
            gaps.append(f"frame {first:0{wide}d} is missing")
        elif first < last:
            gaps.append(f"frames {first:0{wide}d} to {last:0{wide}d} are missing")
    if gaps:
        more = f" and {len(gaps) - 3} gaps more" if len(gaps) > 3 else ""
        every = folder / f"{told[0][1]}*{told[0][3]}"
        raise BadInput(f"{folder}: {', '.join(gaps[:3])}{more}: make them, or name {every} to take "
                      "what is there")  # fmt: skip


def image_name(pattern: str, number: int) -> str:
    def digits(match: re.Match[str]) -> str:
        return f"{number:{match[1] or ''}d}"

    return re.sub(r"%(0\d+)?d", digits, pattern).replace("%%", "%")


def image_numbers(pattern: Path) -> Iterator[tuple[int, Path]]:
    """Pictures that are there already."""
    known = numbered(pattern.name)
    assert known is not None
    for name in sorted(os.listdir(pattern.parent)):
        if match := known.fullmatch(name):
            yield int(match[1]), pattern.with_name(name)
