"""The files of the longest title in a DVD's folder."""

from __future__ import annotations

import re
from pathlib import Path

_PART = re.compile(r"VTS_(\d\d)_([1-9])\.VOB", re.IGNORECASE)
_FOLDER = "VIDEO_TS"


def find_title(path: Path) -> tuple[Path, ...]:
    """Return the parts of the largest title in a VIDEO_TS folder, or in a folder that has one.

    Empty if `path` is no such folder. Sizes are compared: lengths are in files that are not read.
    """
    if not path.is_dir():
        return ()
    inner = [entry for entry in path.iterdir() if entry.name.upper() == _FOLDER and entry.is_dir()]
    titles: dict[str, list[Path]] = {}
    for entry in sorted((inner or [path])[0].iterdir()):
        if (found := _PART.fullmatch(entry.name)) and entry.is_file():
            titles.setdefault(found[1], []).append(entry)
    sizes = {number: sum(part.stat().st_size for part in parts) for number, parts in titles.items()}
    return tuple(titles[max(sizes, key=lambda number: sizes[number])]) if sizes else ()
