"""The one border where files are opened and foreign errors become ours."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer

from filmgate.errors import BadFilm, FilmgateError
from filmgate.media.whole import flaw

# Playlists, image sequences and the like could make a stranger's file open other files.
_MATROSKA = b"\x1a\x45\xdf\xa3"
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"moof")


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """The container at `path`: mp4, mov, mkv or webm, nothing else. Raises BadFilm."""
    format = _family(path)
    with translated(path, "opening it"):
        container = av.open(
            os.path.abspath(path),
            "r",
            format=format,
            container_options={"protocol_whitelist": "file"},
            metadata_errors="surrogateescape",
        )
    with container:
        yield container


@contextmanager
def translated(path: Path, doing: str) -> Iterator[None]:
    """FFmpeg's errors about `path` become BadFilm; `doing` says during what ("opening it")."""
    try:
        yield
    except av.FFmpegError as error:
        found = flaw(path)
        hint = f"; it is {found}" if found else ""
        said = error.strerror or type(error).__name__
        raise BadFilm(f"{path} is damaged: {doing}, FFmpeg said '{said}'{hint}") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """FFmpeg's errors while `path` is written become FilmgateError."""
    try:
        yield
    except av.FFmpegError as error:
        said = error.strerror or type(error).__name__
        raise FilmgateError(
            f"{path} could not be written, FFmpeg said '{said}': see that its folder can be "
            "written to and its disk has room"
        ) from error


def _family(path: Path) -> str:
    with _stream(path) as file:
        head = file.read(12)
    if head.startswith(_MATROSKA):
        return "matroska"
    if head[4:8] in _BOXES:
        return "mov"
    for start, name in (
        (b"RIFF", "avi"), (b"GIF8", "gif"), (b"YUV4", "yuv4mpegpipe"), (b"nut/", "nut"),
        (b"G", "mpegts"),
    ):  # fmt: skip
        if head.startswith(start):
            return name
    raise BadFilm(
        f"{path} is not a film that can be read: it begins with {head!r}, wanted mp4, mov, mkv or "
        "webm; convert it first"
        if head
        else f"{path} is empty: 0 bytes, wanted an mp4, mov, mkv or webm"
    )


def _stream(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError as error:
        raise BadFilm(f"{path} does not exist: check the name") from error
    except IsADirectoryError as error:
        raise BadFilm(f"{path} is a folder, wanted a film: name a file in it") from error
    except OSError as error:
        raise BadFilm(f"{path} can't be read: {error.strerror}") from error
