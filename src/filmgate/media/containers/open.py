"""Open containers safely; the only place where FFmpeg's errors become ours."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import NoReturn, Protocol, cast

import av
from av.container import InputContainer
from av.stream import Disposition

from filmgate.core.source_metadata import MAX_PIXELS, SourceMetadata
from filmgate.errors import BadInput, FilmgateError
from filmgate.media.containers.animated_webp import WEBP, open_webp
from filmgate.media.containers.declared_size import read_declared_size
from filmgate.media.containers.detection import (
    AUDIO_DEMUXERS,
    BARE_STREAMS,
    DEMUXERS,
    HEAD_BYTES,
    detect_audio_format,
    detect_format,
    is_video,
)
from filmgate.media.containers.element_count import check_element_count
from filmgate.media.containers.integrity import find_damage
from filmgate.media.containers.joined import JoinedContainer, PartInfo, inspect_part
from filmgate.media.containers.local_file import LocalFile
from filmgate.media.containers.transport_stream import FixedStreams
from filmgate.media.options import InputFiles, check_frame_size

# A pipe is not waited for; a byte 26, the first of each mkv, does not end the file on Windows.
_OPEN_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_BUFFER_BYTES = 1 << 16
_LATE_STREAMS = frozenset({"mpegts", "mpeg", "flv"})  # where a stream may appear at any time
_BYTES_JOIN = BARE_STREAMS | {"mpeg", "mpegts", "dv"}  # that may be cut at any byte


class Readable(Protocol):
    """A file or a pipe that is open."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes."""
        ...


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
def open_container(
    path: Path,
    *,
    max_pixels: int = MAX_PIXELS,
    audio: bool = False,
    parts: tuple[Path, ...] = (),
) -> Iterator[InputContainer]:
    """Open the container at `path`, one of DEMUXERS by its content, within the limits.

    With `audio` it may be one of AUDIO_DEMUXERS too. `parts` are files that follow, on one
    timeline. Raises BadInput.
    """
    if parts and (format := _detect_format(path, audio)) not in _BYTES_JOIN:
        with _open_joined((path, *parts), max_pixels) as container:
            yield container
        return
    limits = ContainerLimits(pixels=max_pixels)
    format = _detect_format(path, audio)
    if size := read_declared_size(_read_head(path, HEAD_BYTES)):
        check_frame_size(path, *size, limits.pixels)
    check_element_count(path, format)
    if format == WEBP:
        with open_webp(path, partial(open_input, format="rawvideo", max_pixels=max_pixels)) as webp:
            yield cast(InputContainer, webp)
        return
    own = {"use_absolute_path": "0", "enable_drefs": "0"} if format == "mov" else {}
    with ExitStack() as stack:
        with translate_errors(path, "opening it"):
            container = stack.enter_context(
                open_input(
                    stack.enter_context(LocalFile(path, *parts)) if parts else path,
                    format,
                    max_pixels,
                    protocol_whitelist="none",
                    format_whitelist=",".join([*DEMUXERS, *(AUDIO_DEMUXERS if audio else ())]),
                    probesize=str(limits.probe_bytes),
                    analyzeduration=str(limits.probe_s * 1_000_000),
                    max_streams=str(10 * limits.streams),
                    **own,
                )
            )
        _check_limits(path, container, limits)
        late = format in _LATE_STREAMS
        yield cast(InputContainer, FixedStreams(container)) if late else container


def open_files(files: InputFiles) -> AbstractContextManager[InputContainer]:
    """Open the file of an input with its parts. Raises BadInput."""
    return open_container(files.path, max_pixels=files.max_pixels, parts=files.parts)


@contextmanager
def _open_joined(paths: tuple[Path, ...], max_pixels: int) -> Iterator[InputContainer]:
    """Open the containers at `paths` as one. Raises BadInput."""
    joined = JoinedContainer(
        paths, partial(open_container, max_pixels=max_pixels), partial(_inspect, max_pixels)
    )
    try:
        yield cast(InputContainer, joined)
    finally:
        joined.close()


def _inspect(max_pixels: int, path: Path) -> PartInfo:
    """Return what a part has. Raises BadInput."""
    _read_head(path, 0)  # an error says what is wrong with a file that is not there
    stat = path.stat()
    return _inspect_once(path, max_pixels, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1000)
def _inspect_once(path: Path, max_pixels: int, *_: int) -> PartInfo:
    with (
        open_container(path, max_pixels=max_pixels) as container,
        translate_errors(path, "reading its times"),
    ):
        return inspect_part(container, path)


def open_source(source: SourceMetadata) -> AbstractContextManager[InputContainer]:
    """Open the file that other streams are copied from. Raises BadInput."""
    assert source.path is not None
    return open_container(
        source.path, max_pixels=source.max_pixels, audio=source.is_audio, parts=source.parts
    )


@contextmanager
def open_input(
    file: Path | Readable, format: str, max_pixels: int, **options: str
) -> Iterator[InputContainer]:
    """Open a path or a readable object as the container `format`; FFmpeg's errors pass through.

    FFmpeg can open no other file, whatever the demuxer. Raises BadInput if it tries to.

    PyAV frees a decoder with the interpreter's lock held, and FFmpeg then waits for the decoder's
    threads. They must not wait for that lock: PyAV takes it for every message once a library has
    set its log level (torchvision does). So messages are off, and the threads are idle at the end.
    """
    av.logging.set_level(None)
    with ExitStack() as stack:
        if isinstance(file, Path):
            file = stack.enter_context(LocalFile(file))
        container = av.open(
            file,
            "r",
            format=format,
            options={"max_pixels": str(max_pixels)},
            container_options=options,
            metadata_errors="surrogateescape",
            buffer_size=_BUFFER_BYTES,
            io_open=_refuse_other_file,
        )
        try:
            yield container
        finally:
            for stream in container.streams:
                if stream.codec_context is not None:
                    stream.codec_context.flush_buffers()  # waits without the lock
            container.close()


def _refuse_other_file(name: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise BadInput(f"the video names another file, {name!r}, which is not opened: get a complete "
                   "file")  # fmt: skip


@contextmanager
def translate_errors(
    path: Path, doing: str | Callable[[], str], remedy: str = ""
) -> Iterator[None]:
    """Turn FFmpeg's errors about `path` into BadInput; `doing` says when, e.g. "opening it".

    It may be a function, which is called at an error. `remedy` says what the user can do.
    """
    try:
        yield
    except (av.FFmpegError, ValueError, OverflowError, IndexError, MemoryError) as error:
        damage = find_damage(path)
        hint = f"; it is {damage}" if damage else ""
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        hint += f"; {remedy}" if remedy else ""
        doing = doing if isinstance(doing, str) else doing()
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


def _detect_format(path: Path, audio: bool = False) -> str:
    """Return the demuxer for a file by its content, whatever its name. Raises BadInput."""
    head = _read_head(path, HEAD_BYTES)
    if name := detect_format(path, head) or (detect_audio_format(head) if audio else ""):
        return name
    wanted = ", ".join([*(AUDIO_DEMUXERS if audio else {}).values(), *DEMUXERS.values()])
    kind = "file of audio" if audio else "video"
    raise BadInput(
        f"{path} is not a supported {kind}: it starts with {head[:12]!r}, wanted {wanted}; convert "
        "it first"
        if head
        else f"{path} is empty: 0 bytes, wanted {wanted}"
    )


def is_video_file(path: Path) -> bool:
    """Return whether the content of a file is that of a video, whatever its name."""
    try:
        return is_video(path, _read_head(path, HEAD_BYTES))
    except BadInput:
        return False


def _explain_folder(path: Path) -> str:
    return f"{path} is a folder, wanted a video: name a file in it"


def _read_head(path: Path, size: int) -> bytes:
    """Return the first bytes of a regular file. Raises BadInput; never waits for a pipe."""
    try:
        number = os.open(path, os.O_RDONLY | _OPEN_FLAGS)
    except FileNotFoundError as error:
        raise BadInput(f"{path} does not exist: check the name") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, PermissionError) and path.is_dir():  # which Windows does not open
            raise BadInput(_explain_folder(path)) from error
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{str(path)!r} can't be read: {reason}; name a file") from error
    try:
        mode = os.fstat(number).st_mode
        if stat.S_ISDIR(mode):
            raise BadInput(_explain_folder(path))
        if not stat.S_ISREG(mode):
            raise BadInput(f"{path} is a pipe or a device, wanted a file: save it as one first")
        return os.read(number, size)
    finally:
        os.close(number)
