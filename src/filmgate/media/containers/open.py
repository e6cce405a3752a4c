"""Open containers safely; the only place where FFmpeg's errors become ours."""

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

from filmgate.core.source_metadata import MAX_PIXELS
from filmgate.errors import BadInput, FilmgateError
from filmgate.media.containers.integrity import find_damage

# FFmpeg's demuxers and their common names. Playlists, image sequences and the like are missing on
# purpose: they would let an untrusted file open other files.
DEMUXERS: Mapping[str, str] = MappingProxyType(
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
class ContainerLimits:
    """What a file may demand before any frame is decoded."""

    pixels: int = MAX_PIXELS
    """Of one frame."""

    streams: int = 100
    """Of all kinds."""

    duration_s: int = 31 * 24 * 3600
    """By the container's header; a month."""

    probe_bytes: int = 20_000_000
    """Read to find out what the streams are."""

    probe_s: int = 10
    """Video time read for the same purpose."""


@contextmanager
def open_container(path: Path, *, max_pixels: int = MAX_PIXELS) -> Iterator[InputContainer]:
    """Open the container at `path`, one of DEMUXERS by its content, within the limits.

    Raises BadInput.
    """
    limits = ContainerLimits(pixels=max_pixels)
    format = _detect_format(path)
    own = {"use_absolute_path": "0", "enable_drefs": "0"} if format == "mov" else {}
    with translate_errors(path, "opening it"):
        container = av.open(
            os.path.abspath(path),
            "r",
            format=format,
            options={"max_pixels": str(limits.pixels)},
            container_options={
                "protocol_whitelist": "file",
                "format_whitelist": ",".join(DEMUXERS),
                "probesize": str(limits.probe_bytes),
                "analyzeduration": str(limits.probe_s * 1_000_000),
                "max_streams": str(10 * limits.streams),
                **own,
            },
            metadata_errors="surrogateescape",
        )
    with container:
        _check_limits(path, container, limits)
        yield container


@contextmanager
def translate_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn FFmpeg's errors about `path` into BadInput; `doing` says when, e.g. "opening it"."""
    try:
        yield
    except (av.FFmpegError, ValueError, OverflowError, IndexError, MemoryError) as error:
        damage = find_damage(path)
        hint = f"; it is {damage}" if damage else ""
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadInput(f"{path} is damaged: {doing}, FFmpeg said '{reason}'{hint}") from error


@contextmanager
def translate_write_errors(path: Path) -> Iterator[None]:
    """Turn FFmpeg's errors while `path` is written into FilmgateError."""
    try:
        yield
    except av.FFmpegError as error:
        reason = error.strerror or type(error).__name__
        hint = "its folder is writable and its disk has room"
        if str(path) == "-":
            hint = "the program that reads the pipe did not stop early"
        raise FilmgateError(
            f"{path} could not be written, FFmpeg said '{reason}': check that {hint}"
        ) from error


def _check_limits(path: Path, container: InputContainer, limits: ContainerLimits) -> None:
    """Raise BadInput if the file exceeds a limit."""
    count = len(container.streams)
    if count > limits.streams:
        raise BadInput(f"{path} has {count} streams, wanted at most {limits.streams}: remove some")
    length = (container.duration or 0) / 1_000_000
    if length > limits.duration_s:
        raise BadInput(
            f"{path} has a duration of {length:.0f} s, wanted at most {limits.duration_s} s: split "
            "it, or remux it if the duration is wrong"
        )
    for stream in container.streams.video:
        context = stream.codec_context
        if context is None or stream.disposition & Disposition.attached_pic:
            continue
        pixels = context.width * context.height
        if pixels > limits.pixels:
            raise BadInput(
                f"{path} has frames of {context.width}x{context.height}, wanted at most "
                f"{limits.pixels} pixels: pass --max-pixels {pixels} if you trust it"
            )


def _detect_format(path: Path) -> str:
    """Return the demuxer for a file by its content, whatever its name. Raises BadInput."""
    head = _read_head(path, 600)
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
    wanted = ", ".join(DEMUXERS.values())
    raise BadInput(
        f"{path} is not a supported video: it starts with {head[:12]!r}, wanted {wanted}; convert "
        "it first"
        if head
        else f"{path} is empty: 0 bytes, wanted {wanted}"
    )


def _read_head(path: Path, size: int) -> bytes:
    """Return the first bytes of a regular file. Raises BadInput; never waits for a pipe."""
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError as error:
        raise BadInput(f"{path} does not exist: check the name") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{str(path)!r} can't be read: {reason}; name a file") from error
    try:
        mode = os.fstat(number).st_mode
        if stat.S_ISDIR(mode):
            raise BadInput(f"{path} is a folder, wanted a video: name a file in it")
        if not stat.S_ISREG(mode):
            raise BadInput(f"{path} is a pipe or a device, wanted a file: save it as one first")
        return os.read(number, size)
    finally:
        os.close(number)
