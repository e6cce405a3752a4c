"""What a path names: checked before it is opened, because opening a pipe can wait forever."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from filmgate.errors import BadInput, BadSetting
from filmgate.storage.file_names import explain_refused_name

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def describe_other_kind(path: Path) -> str:
    """Return what `path` names if that is no regular file: "a folder", "a pipe" ...

    Empty for a regular file, and where nothing can be found out. Links are followed.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return ""
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "")


def check_input_file(path: Path, wanted: str) -> None:
    """Raise BadInput unless `path` is a regular file; `wanted` says which, e.g. "a video"."""
    if kind := describe_other_kind(path):
        remedy = "name a file in it" if kind == "a folder" else "save it as a file first"
        raise BadInput(f"{path} is {kind}, wanted {wanted}: {remedy}")
    if not os.path.exists(path):
        if os.path.islink(path):
            raise BadInput(f"{path} is a link to {os.readlink(path)}, which does not exist: "
                           f"pass {wanted}")  # fmt: skip
        raise BadInput(f"{path} does not exist: check the name, or pass {wanted}")


def check_output_file(path: Path) -> None:
    """Raise BadSetting if `path` names what a file may not replace: a folder, a pipe, a device.

    Also for a name that the system does not take as it is.
    """
    if reason := explain_refused_name(path):
        raise BadSetting(f"the output {path} cannot be written: {reason}. Choose another name")
    if kind := describe_other_kind(path):
        raise BadSetting(f"the output {path} is {kind}, wanted the name of a file: choose another")


def check_replaceable(path: Path, start: bytes, what: str) -> None:
    """Raise BadSetting if `path` exists and does not begin like `what`, which starts with `start`.

    For files that a run writes without being asked to overwrite: an earlier one of the same kind
    may be replaced, and nothing else.
    """
    check_output_file(path)
    if not os.path.lexists(path):
        return
    try:
        with open(path, "rb") as file:
            head = file.read(len(start))
    except OSError:
        head = b"?"
    if head and head != start:
        raise BadSetting(f"{path} exists and is not {what}: choose another name")
