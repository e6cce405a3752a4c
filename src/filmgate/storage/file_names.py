"""Names and paths that a system changes, refuses, or takes for the same file."""

from __future__ import annotations

import ntpath
import os
import re
import sys
import unicodedata
from pathlib import Path, PurePath, PureWindowsPath

_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [f"{port}{n}" for port in ("com", "lpt") for n in "123456789\u00b9\u00b2\u00b3"]
)
_REFUSED = frozenset('<>"|?*') | frozenset(map(chr, range(32)))
_LONGEST = 200  # a run adds up to 60 characters, and 260 is the limit without the prefix
_PREFIX, _UNC_PREFIX, _DEVICE_PREFIX = "\\\\?\\", "\\\\?\\UNC\\", "\\\\.\\"


def explain_refused_name(path: Path | PureWindowsPath) -> str:
    """Return why this system makes no file of this name, "" if it does.

    Only Windows has such names: it opens a device for aux.mp4, cuts dots and spaces at the end of
    a name, and writes into a hidden stream of `a` for a:b.mp4.
    """
    if sys.platform != "win32" and not isinstance(path, PureWindowsPath):
        return ""
    text = str(path)
    for prefix in (_UNC_PREFIX, _PREFIX):
        text = text.removeprefix(prefix)
    for part in re.split(r"[\\/]", ntpath.splitdrive(text)[1]):
        if part in ("", ".", ".."):
            continue
        if part.split(".")[0].rstrip(" ").lower() in _DEVICES:
            return f"{part} is the name of a device on Windows"
        if ":" in part:
            return f"a colon, as in {part}, names a stream inside a file on Windows"
        if found := sorted(_REFUSED & set(part)):
            return f"Windows has no {''.join(found)!r} in names"
        if part[-1] in ". ":
            return f"Windows cuts the {part[-1]!r} at the end of {part!r}"
    return ""


def extend_long_path(path: Path) -> Path:
    r"""Return a path that Windows takes at any length: \\?\ and the absolute path if it is long.

    Other systems have no such limit and get `path`.
    """
    if sys.platform == "win32":
        return Path(_extend(str(path)))
    return path


def _extend(path: str) -> str:
    full = ntpath.abspath(path)
    if len(full) <= _LONGEST or full.startswith(_PREFIX):
        return path
    if full.startswith(_DEVICE_PREFIX):
        return _PREFIX + full.removeprefix(_DEVICE_PREFIX)
    return _UNC_PREFIX + full[2:] if full.startswith("\\\\") else _PREFIX + full


def fold_path(path: Path, platform: str = sys.platform) -> str:
    """Return a text that is equal for paths which may name one file on this system.

    Windows and macOS ignore case, Windows has prefixes, and macOS ignores how accents are composed.
    Nothing is opened.
    """
    text = str(path)
    if platform == "darwin":
        return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    if platform != "win32":
        return text
    text = ntpath.normcase(text)
    bare = text.removeprefix(_PREFIX).removeprefix(_DEVICE_PREFIX)
    is_share = bare != text and bare.startswith("unc\\")
    return "\\\\" + bare.removeprefix("unc\\") if is_share else bare


def is_same_folder(one: Path | str, two: Path | str) -> bool:
    """Return whether two paths lead to one folder: by links, a share's name, in another case."""
    try:
        return os.path.samefile(one, two)
    except OSError:  # one does not exist
        return os.path.realpath(one) == os.path.realpath(two)


def split_pattern(path: PurePath) -> tuple[PurePath, str] | None:
    r"""Return the folder before the first part with * ? or [, and the rest; None without one.

    A part that exists under its name is no pattern, and neither is the ? of \\?\C:\.
    """
    parts, kind = path.parts, type(path)
    for k in range(1 if path.anchor else 0, len(parts)):
        if set("*?[") & set(parts[k]) and not os.path.lexists(kind(*parts[: k + 1])):
            return kind(*parts[:k]), str(kind(*parts[k:]))
    return None
