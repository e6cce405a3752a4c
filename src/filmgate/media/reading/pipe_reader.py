"""A video from a pipe: read once, from its start, in bounded memory."""

from __future__ import annotations

import secrets
import shutil
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.snapshot import Cursor
from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import BadInput, BadSetting, FilmgateError, Unsupported
from filmgate.media.containers.declared_size import read_declared_size
from filmgate.media.containers.open import open_input
from filmgate.media.options import ReadOptions, check_frame_size
from filmgate.media.pixels import formats
from filmgate.media.pixels.av_frames import extract_planes, read_color_tags
from filmgate.media.pixels.format_names import get_bit_depth
from filmgate.media.reading.decode_times import UntimedFrames
from filmgate.media.reading.decoded_frame import choose_checks
from filmgate.media.reading.open_video import open_video
from filmgate.media.reading.pending_frames import PendingFrames, read_head
from filmgate.media.reading.side_data import (
    SideDataWatch,
    check_dolby_vision,
    describe_header,
    read_side_data,
)
from filmgate.media.reading.stream_header import read_stream_header
from filmgate.media.reading.stream_info import choose_stream, read_display_matrix, read_hdr_metadata
from filmgate.media.reading.video_reader import VideoReader

_NOTICE = (
    "the video comes from a pipe: audio and other streams are not copied; pass --spool FOLDER to "
    "copy them"
)
_NO_END = "; a ts does not mark its end, so a truncated one can't be detected"
_READ_TWICE = "a pipe can't be read twice: pass --spool FOLDER, which stores it during the run"


@contextmanager
def open_pipe(options: ReadOptions, spool: Path | None) -> Iterator[PipeReader | VideoReader]:
    """Open a pipe and decode its first frame; with the folder `spool` it is stored, then opened.

    Raises BadInput, Unsupported, BadSetting.
    """
    with _open_input(options.path) as file:
        if spool is None:
            with _open_container(options, file) as (container, source):
                yield PipeReader.open(options, container, source)
            return
        copy = spool / f".pipe.{secrets.token_hex(4)}.part"
        try:
            _store(file, copy)
            with open_video(replace(options, path=copy)) as reader:
                yield reader
        finally:
            copy.unlink(missing_ok=True)


@dataclass(slots=True)
class PipeReader:
    """A video that is read once, from its start; reading it again raises BadSetting."""

    spec: StreamSpec
    metadata: SourceMetadata
    frames: Iterator[VideoFrame]
    notices: tuple[str, ...]

    @classmethod
    def open(cls, options: ReadOptions, container: InputContainer, source: _PipeFile) -> PipeReader:
        """Decode the first frame of an open container. Raises BadInput, Unsupported."""
        stream = choose_stream(options.path, container, None)
        frames = _decode_trimmed(options, container, source)
        first = next(frames, None)
        if first is None:
            trim = options.trim
            part = (
                f" from {trim.start or 0} s to {trim.end or 'its end'}"
                if (trim.start, trim.end) != (None, None)
                else ""
            )
            raise BadInput(f"{options.path} has no frame{part}")
        pixels = formats.find_planar_format(first.format.name)
        spec = StreamSpec(
            width=first.width,
            height=first.height,
            rate=stream.base_rate if container.format.name == "yuv4mpegpipe" else None,
            time_base=stream.time_base or Fraction(1, 1000),
            pixels=pixels,
            dtype="uint8" if get_bit_depth(pixels) == 8 else "uint16",
            colour=read_color_tags(first, "unknown"),
        )
        header, side_data = read_stream_header(stream), read_side_data(first)
        check_dolby_vision(options.path, header, side_data)
        metadata = SourceMetadata(
            aspect=stream.sample_aspect_ratio,
            display_matrix=read_display_matrix(side_data),
            hdr_side_data=read_hdr_metadata(side_data),
        )
        notice = _NOTICE + _NO_END * (container.format.name == "mpegts")
        notices = (notice, *describe_header(header))
        return cls(spec, metadata, chain([first], frames), notices)

    def read(self, cursor: Cursor | None, size: int) -> Iterator[tuple[list[Frame], Cursor]]:
        """Yield chunks that end at multiples of `size`, each with the cursor after it; once.

        Raises BadInput, Unsupported with the time of the fault; BadSetting the second time.
        """
        if cursor is not None or not self.notices:
            raise BadSetting(_READ_TWICE)
        held: list[Frame] = []
        notices, self.notices = self.notices, ()
        watch = SideDataWatch()
        start: int | None = None
        for index, (frame, end) in enumerate(_find_ends(self.frames, self.spec)):
            pts = frame.pts or 0
            start = pts if start is None else start
            if held and index % size == 0:
                yield held, Cursor(index, pts)
                held = []
            time = (pts - start) * self.spec.time_base
            image = extract_planes(frame, self.spec.pixels, self.spec.colour)
            duration = (end - pts) * self.spec.time_base
            losses, captions = watch.check(frame)
            said = [*(notices if index == 0 else ()), *losses]
            extras: dict[str, object] = {"notice": "; ".join(said)} if said else {}
            if captions:
                extras["captions"] = captions
            held.append(Frame(index, time, duration, image, extras))
        if held:
            yield held, Cursor(held[-1].index + 1, end)

    def iter_times(self) -> Iterator[tuple[Fraction, Fraction]]:
        """Raise BadSetting: the times are not known before the pipe is read."""
        raise BadSetting(_READ_TWICE)


class _PipeFile:
    """A pipe whose first bytes were read for `head` and are read again; it can't seek."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self.head, self._left, self._file, self.bytes_read = head, head, file, 0

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes."""
        data, self._left = self._left[:size], self._left[size:]
        data = data or self._file.read(size)
        self.bytes_read += len(data)
        return data


@contextmanager
def _open_input(path: Path) -> Iterator[BinaryIO]:
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise BadInput(f"{path} can't be read: {error.strerror}") from error
    with file:
        yield file


def _store(file: BinaryIO, path: Path) -> None:
    """Copy a pipe to a new file. Raises FilmgateError."""
    try:
        with path.open("xb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
    except OSError as error:
        raise FilmgateError(
            f"the pipe can't be stored as {path}: {error.strerror}; check that the folder is "
            "writable and its disk has room"
        ) from error


@contextmanager
def _open_container(
    options: ReadOptions, file: BinaryIO
) -> Iterator[tuple[InputContainer, _PipeFile]]:
    source = _PipeFile(file.read(4096), file)
    format = _detect_format(options.path, source.head)
    if size := read_declared_size(source.head):
        check_frame_size(options.path, *size, options.max_pixels)
    with ExitStack() as stack:
        with _translate_errors(options.path, "opening it"):
            container = stack.enter_context(
                open_input(source, format, options.max_pixels, protocol_whitelist="none")
            )
        yield container, source


def _detect_format(path: Path, head: bytes) -> str:
    for start, name in ((b"YUV4MPEG2 ", "yuv4mpegpipe"), (b"nut/multimedia", "nut")):
        if head.startswith(start):
            return name
    if head[:1] == b"G" and head[188:189] == b"G":
        return "mpegts"
    if head[4:8] == b"ftyp" or head.startswith((b"RIFF", b"\x1a\x45\xdf\xa3")):
        raise Unsupported(
            f"{path} is a pipe with an mp4, mov, avi, mkv or webm, whose index and completeness "
            "can only be checked in a file: send y4m, nut or ts, or pass --spool FOLDER"
        )
    raise BadInput(
        f"{path} is a pipe that starts with {head[:12]!r}, wanted y4m, nut or ts"
        if head
        else f"{path} is an empty pipe: check the program that writes into it"
    )


def _decode_trimmed(
    options: ReadOptions, container: InputContainer, source: _PipeFile
) -> Generator[VideoFrame]:
    """Yield the frames that the trim keeps, in order, all of one size and format."""
    path, trim = options.path, options.trim
    stream = choose_stream(path, container, None)
    context = stream.codec_context
    context.thread_count, context.thread_type = options.threads, "AUTO"
    context.options = {
        "err_detect": choose_checks(stream),
        "max_pixels": str(options.max_pixels),
    }
    base = stream.time_base or Fraction(1, 1000)
    first_pts: int | None = None
    last, count = Fraction(-1), 0
    kind: tuple[int, int, str] | None = None
    frames = _decode_all(path, container, stream, source)
    while True:
        doing = "decoding its first frame" if first_pts is None else f"after {float(last):.3f} s"
        with _translate_errors(path, doing):
            frame = next(frames, None)
        if frame is None:
            return
        if frame.pts is None or frame.is_corrupt:
            raise BadInput(f"{path} is damaged: {doing}, a frame is broken or has no time")
        first_pts = frame.pts if first_pts is None else first_pts
        time = (frame.pts - first_pts) * base
        if time <= last:
            raise BadInput(f"{path} goes back in time, {doing}: pass --spool FOLDER")
        last, this = time, (frame.width, frame.height, frame.format.name)
        kind = kind or this
        if this != kind:
            raise Unsupported(
                f"{path} changes at {float(time):.3f} s from {kind} to {this}, wanted one size and "
                "format: pass --spool FOLDER"
            )
        if trim.start is not None and time < trim.start:
            continue
        if (trim.end is not None and time >= trim.end) or count == trim.max_frames:
            return
        count += 1
        yield frame


def _decode_all(
    path: Path, container: InputContainer, stream: VideoStream, source: _PipeFile
) -> Iterator[VideoFrame]:
    """Yield every frame, without those at the start that need earlier ones.

    Raises EOFError if a y4m ends within a frame, which FFmpeg ignores.
    """
    count = payload = 0
    packets, orphans = read_head(container.demux(stream))
    if orphans and stream.codec_context.name == "h264":  # see decoder.py
        stream.codec_context.thread_count = 1
    tick = stream.time_base or Fraction(1, 1000)
    pending = PendingFrames(tick, from_keyframe=container.format.name != "mpegts")
    untimed = UntimedFrames(path, stream, tick)
    for packet in packets:
        count, payload = count + bool(packet.size), payload + packet.size
        if orphans and packet.size and packet.pts is not None:
            pending.add(packet)
        try:
            frames = stream.decode(packet)
        except av.InvalidDataError:
            if not pending.fail_orphan():
                raise
            continue
        for frame in untimed.release(frames, end=not packet.size):
            pending.match(frame.pts or 0, strict=True)
            yield frame
    if container.format.name == "yuv4mpegpipe":
        header, _, rest = source.head.partition(b"\n")
        line = rest.partition(b"\n")[0]  # FRAME, usually without parameters
        if source.bytes_read != len(header) + 1 + payload + count * (len(line) + 1):
            raise EOFError


def _find_ends(frames: Iterator[VideoFrame], spec: StreamSpec) -> Iterator[tuple[VideoFrame, int]]:
    """Yield each frame with its end in ticks: the next one's pts; the last uses its duration."""
    held: VideoFrame | None = None
    for following in frames:
        if held is not None:
            yield held, following.pts or 0
        held = following
    if held is not None:
        default = max(1, round(1 / (spec.rate or 25) / spec.time_base))
        yield held, (held.pts or 0) + (held.duration or default)


@contextmanager
def _translate_errors(path: Path, doing: str) -> Iterator[None]:
    try:
        yield
    except (av.FFmpegError, EOFError) as error:
        reason = getattr(error, "strerror", None) or "it ends within a frame"
        raise BadInput(f"{path} is damaged or truncated: {doing}, '{reason}'") from error
