"""Open containers safely; the only place where FFmpeg's errors become ours."""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition

from filmgate.core.source_metadata import MAX_PIXELS
from filmgate.errors import BadInput, FilmgateError
from filmgate.media.containers.animated_png import PNG, is_animated_png
from filmgate.media.containers.declared_size import read_declared_size
from filmgate.media.containers.element_count import check_element_count
from filmgate.media.containers.integrity import find_damage
from filmgate.media.options import check_frame_size

# FFmpeg's demuxers and their common names. Playlists, image sequences and the like are missing on
# purpose: they would let an untrusted file open other files.
DEMUXERS: Mapping[str, str] = MappingProxyType(
    {
        "mov": "mp4, mov", "matroska": "mkv, webm", "avi": "avi", "mpegts": "ts", "gif": "gif",
        "yuv4mpegpipe": "y4m", "nut": "nut", "apng": "animated png",
    }
)  # fmt: skip

_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"moof")
_STARTS = MappingProxyType(
    {
        b"\x1a\x45\xdf\xa3": "matroska", b"GIF87a": "gif", b"GIF89a": "gif",
        b"YUV4MPEG2 ": "yuv4mpegpipe", b"nut/multimedia container\0": "nut",
    }
)  # fmt: skip
# of files with boxes that hold audio or a still image
_BRANDS_WITHOUT_VIDEO = (b"M4A ", b"M4B ", b"heic", b"heix", b"mif1", b"avif", b"crx ")
# A pipe is not waited for; a byte 26, the first of each mkv, does not end the file on Windows.
_OPEN_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True)
class ContainerLimits:
    """What a file may demand before any frame is decoded."""

    pixels: int = MAX_PIXELS
    """Of one frame."""

    streams: int = 100
    """Of all kinds."""

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
    if size := read_declared_size(_read_head(path, 600)):
        check_frame_size(path, *size, limits.pixels)
    check_element_count(path, format)
    own = {"use_absolute_path": "0", "enable_drefs": "0"} if format == "mov" else {}
    with ExitStack() as stack:
        with translate_errors(path, "opening it"):
            container = stack.enter_context(
                open_input(
                    os.path.abspath(path),
                    format,
                    max_pixels,
                    protocol_whitelist="file",
                    format_whitelist=",".join(DEMUXERS),
                    probesize=str(limits.probe_bytes),
                    analyzeduration=str(limits.probe_s * 1_000_000),
                    max_streams=str(10 * limits.streams),
                    **own,
                )
            )
        _check_limits(path, container, limits)
        yield container


@contextmanager
def open_input(file: Any, format: str, max_pixels: int, **options: str) -> Iterator[InputContainer]:
    """Open a path or a readable object as the container `format`; FFmpeg's errors pass through.

    PyAV frees a decoder with the interpreter's lock held, and FFmpeg then waits for the decoder's
    threads. They must not wait for that lock: PyAV takes it for every message once a library has
    set its log level (torchvision does). So messages are off, and the threads are idle at the end.
    """
    av.logging.set_level(None)
    container = av.open(
        file,
        "r",
        format=format,
        options={"max_pixels": str(max_pixels)},
        container_options=options,
        metadata_errors="surrogateescape",
    )
    try:
        yield container
    finally:
        for stream in container.streams:
            if stream.codec_context is not None:
                stream.codec_context.flush_buffers()  # waits without the lock
        container.close()


@contextmanager
def translate_errors(path: Path, doing: str, remedy: str = "") -> Iterator[None]:
    """Turn FFmpeg's errors about `path` into BadInput; `doing` says when, e.g. "opening it".

    `remedy` says what the user can do.
    """
    try:
        yield
    except (av.FFmpegError, ValueError, OverflowError, IndexError, MemoryError) as error:
        damage = find_damage(path)
        hint = f"; it is {damage}" if damage else ""
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        hint += f"; {remedy}" if remedy else ""
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
    for stream in container.streams.video:
        context = stream.codec_context
        if context is None or stream.disposition & Disposition.attached_pic:
            continue
        if context.width and context.height:
            check_frame_size(path, context.width, context.height, limits.pixels)


def _detect_format(path: Path) -> str:
    """Return the demuxer for a file by its content, whatever its name. Raises BadInput."""
    head = _read_head(path, 600)
    for start, name in _STARTS.items():
        if head.startswith(start):
            return name
    if head[4:8] in _BOXES:
        return "mov"
    if head.startswith(PNG) and is_animated_png(path):
        return "apng"
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


def is_video_file(path: Path) -> bool:
    """Return whether the content of a file is that of a video, whatever its name."""
    try:
        return not (
            _detect_format(path) == "mov" and _read_head(path, 12)[8:] in _BRANDS_WITHOUT_VIDEO
        )
    except BadInput:
        return False


def _read_head(path: Path, size: int) -> bytes:
    """Return the first bytes of a regular file. Raises BadInput; never waits for a pipe."""
    try:
        number = os.open(path, os.O_RDONLY | _OPEN_FLAGS)
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
