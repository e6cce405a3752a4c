"""The one border where files are opened and foreign errors become ours."""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import av
from av.container import InputContainer
from av.stream import Disposition

from filmgate.errors import BadInput, FilmgateError
from filmgate.media.containers.integrity import flaw
from filmgate.media.options import MAX_PIXELS

# FFmpeg's demuxer: what people call it. Playlists, image sequences and the like are not here: they
# could make a stranger's file open other files.
FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "mov": "mp4, mov", "matroska": "mkv, webm", "avi": "avi", "mpegts": "ts", "gif": "gif",
        "yuv4mpegpipe": "y4m", "nut": "nut",
    }
)  # fmt: skip

_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"moof")
_STARTS = MappingProxyType(
    {
        b"\x1a\x45\xdf\xa3": "matroska", b"GIF87a": "gif", b"GIF89a": "gif",
        b"YUV4MPEG2 ": "yuv4mpegpipe", b"nut/multimedia container\0": "nut",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may ask for before any of its pictures is decoded."""

    pixels: int = MAX_PIXELS
    """Of one picture."""

    streams: int = 100
    """All kinds together."""

    duration_s: int = 31 * 24 * 3600
    """What the container says; a month."""

    probe_bytes: int = 20_000_000
    """Looked at to find out what the streams are."""

    probe_s: int = 10
    """Film time that is looked at for the same."""


@contextmanager
def opened(path: Path, *, max_pixels: int = MAX_PIXELS) -> Iterator[InputContainer]:
    """The container at `path`, one of FORMATS by its content, within Limits. Raises BadInput."""
    limits = Limits(pixels=max_pixels)
    format = _family(path)
    own = {"use_absolute_path": "0", "enable_drefs": "0"} if format == "mov" else {}
    with translated(path, "opening it"):
        container = av.open(
            os.path.abspath(path),
            "r",
            format=format,
            options={"max_pixels": str(limits.pixels)},
            container_options={
                "protocol_whitelist": "file",
                "format_whitelist": ",".join(FORMATS),
                "probesize": str(limits.probe_bytes),
                "analyzeduration": str(limits.probe_s * 1_000_000),
                "max_streams": str(10 * limits.streams),
                **own,
            },
            metadata_errors="surrogateescape",
        )
    with container:
        _check(path, container, limits)
        yield container


@contextmanager
def translated(path: Path, doing: str) -> Iterator[None]:
    """FFmpeg's errors about `path` become BadInput; `doing` says during what ("opening it")."""
    try:
        yield
    except (av.FFmpegError, ValueError, OverflowError, IndexError, MemoryError) as error:
        found = flaw(path)
        hint = f"; it is {found}" if found else ""
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadInput(f"{path} is damaged: {doing}, FFmpeg said '{said}'{hint}") from error


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


def _check(path: Path, container: InputContainer, limits: Limits) -> None:
    """Raises BadInput where the file asks for more than the limits."""
    count = len(container.streams)
    if count > limits.streams:
        raise BadInput(
            f"{path} has {count} streams, wanted at most {limits.streams}: leave some out"
        )
    length = (container.duration or 0) / 1_000_000
    if length > limits.duration_s:
        raise BadInput(
            f"{path} says that it lasts {length:.0f} s, wanted at most {limits.duration_s} s: cut "
            "it, or write its container anew"
        )
    for stream in container.streams.video:
        context = stream.codec_context
        if context is None or stream.disposition & Disposition.attached_pic:
            continue
        pixels = context.width * context.height
        if pixels > limits.pixels:
            raise BadInput(
                f"{path} says that its pictures are {context.width}x{context.height}, wanted at "
                f"most {limits.pixels} pixels: pass --max-pixels {pixels} if you trust it"
            )


def _family(path: Path) -> str:
    """The demuxer for what the file holds, whatever its name says."""
    head = _head(path, 600)
    for start, name in _STARTS.items():
        if head.startswith(start):
            return name
    if head[4:8] in _BOXES:
        return "mov"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    # packets of 188 bytes, or of 192 with a time before each
    if any(
        len(head) > at and set(head[at:564:size]) == {0x47} for at, size in ((0, 188), (4, 192))
    ):
        return "mpegts"
    wanted = ", ".join(FORMATS.values())
    raise BadInput(
        f"{path} is not a film that can be read: it begins with {head[:12]!r}, wanted {wanted}; "
        "convert it first"
        if head
        else f"{path} is empty: 0 bytes, wanted {wanted}"
    )


def _head(path: Path, size: int) -> bytes:
    """The first bytes of a plain file. Raises BadInput; never waits for a pipe's other end."""
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError as error:
        raise BadInput(f"{path} does not exist: check the name") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or error
        raise BadInput(f"{str(path)!r} can't be read: {why}; name a file") from error
    try:
        mode = os.fstat(number).st_mode
        if stat.S_ISDIR(mode):
            raise BadInput(f"{path} is a folder, wanted a film: name a file in it")
        if not stat.S_ISREG(mode):
            raise BadInput(f"{path} is a pipe or a device, wanted a file: save it as one first")
        return os.read(number, size)
    finally:
        os.close(number)
