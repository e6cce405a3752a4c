"""A film that comes through a pipe: read once, from its beginning, and nothing kept of it."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.core.snapshot import Cursor
from filmgate.errors import BadInput, BadSetting, FilmgateError, Unsupported
from filmgate.media.pixels import formats
from filmgate.media.pixels.av_frames import planes_of
from filmgate.media.pixels.planes import bits_of
from filmgate.media.reading.decoder import pick
from filmgate.media.reading.video_reader import VideoReader
from filmgate.media.source_metadata import SourceMetadata
from filmgate.media.sources import VideoFile, VideoPipe

_SAID = (
    "the film comes through a pipe: its sound and other tracks don't go along, and it can't be "
    "gone on with after an interruption; --spool FOLDER keeps it on disk meanwhile"
)
_ENDLESS = "; a ts does not tell where it ends, so it can't be told whether all of it came"
_TWICE = "a pipe can't be read twice: use --spool FOLDER, which keeps it on disk meanwhile"


@contextmanager
def piped(pipe: VideoPipe, threads: int | None = None) -> Iterator[PipeReader | VideoReader]:
    """The film in a pipe, its first frame decoded; spooled, it is a film as any other.

    Raises BadInput, Unsupported, BadSetting.
    """
    with _input(Path(pipe.path)) as file:
        if pipe.spool is None:
            with _opened(pipe, file) as (container, head):
                yield PipeReader.of(pipe, container, head, threads or min(8, os.cpu_count() or 1))
            return
        spool = Path(pipe.spool) / f".pipe.{secrets.token_hex(4)}.part"
        try:
            try:
                with spool.open("xb") as copy:
                    shutil.copyfileobj(file, copy, 1 << 20)
            except OSError as error:
                raise FilmgateError(
                    f"the pipe can't be kept as {spool}: {error.strerror}; see that the folder can "
                    "be written to and its disk has room"
                ) from error
            spooled = VideoFile(spool, from_=pipe.from_, to=pipe.to, frames=pipe.frames,
                           max_pixels=pipe.max_pixels)  # fmt: skip
            with spooled.open(threads) as film:
                yield film
        finally:
            spool.unlink(missing_ok=True)


@dataclass(slots=True)
class PipeReader:
    """A film that is read once, from its beginning; reading it again raises BadSetting."""

    pipe: VideoPipe
    spec: StreamSpec
    origin: SourceMetadata
    pictures: Iterator[VideoFrame]
    notes: dict[str, object]

    @classmethod
    def of(
        cls, pipe: VideoPipe, container: InputContainer, head: _Head, threads: int
    ) -> PipeReader:
        """The film in an opened container. Raises BadInput, Unsupported."""
        stream = pick(Path(pipe.path), container, None)
        pictures = _pictures(pipe, container, head, threads)
        first = next(pictures, None)
        if first is None:
            raise BadInput(f"{pipe.path} shows no picture{_within(pipe)}")
        pixels = formats.planar(first.format.name)
        spec = StreamSpec(
            width=first.width,
            height=first.height,
            rate=stream.base_rate if container.format.name == "yuv4mpegpipe" else None,
            time_base=stream.time_base or Fraction(1, 1000),
            pixels=pixels,
            dtype="uint8" if bits_of(pixels) == 8 else "uint16",
            colour=_colour(first),
        )
        origin = SourceMetadata(aspect=stream.sample_aspect_ratio)
        said = _SAID + _ENDLESS * (container.format.name == "mpegts")
        return cls(pipe, spec, origin, chain([first], pictures), {"noted": said})

    def read(self, cursor: Cursor | None, size: int) -> Iterator[tuple[list[Frame], Cursor]]:
        """Chunks that end at multiples of `size`, each with the place after it; only once.

        Raises BadInput, Unsupported with the time of what is wrong; BadSetting the second time.
        """
        if cursor is not None or not self.notes:
            raise BadSetting(_TWICE)
        held: list[Frame] = []
        notes, self.notes = self.notes, {}
        start: int | None = None
        for index, (picture, end) in enumerate(_lasting(self.pictures, self.spec)):
            pts = picture.pts or 0
            start = pts if start is None else start
            if held and index % size == 0:
                yield held, Cursor(index, pts)
                held = []
            time = (pts - start) * self.spec.time_base
            image = planes_of(picture, self.spec.pixels, self.spec.colour)
            duration = (end - pts) * self.spec.time_base
            held.append(Frame(index, time, duration, image, notes if index == 0 else {}))
        if held:
            yield held, Cursor(held[-1].index + 1, end)

    def times(self) -> Iterator[tuple[Fraction, Fraction]]:
        """Not to be had without reading it. Raises BadSetting."""
        raise BadSetting(_TWICE)


class _Head:
    """A pipe that looks as if nobody had read its beginning; it can't seek, and says so."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self.head, self._left, self._file, self.taken = head, head, file, 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes."""
        read, self._left = self._left[:size], self._left[size:]
        read = read or self._file.read(size)
        self.taken += len(read)
        return read


@contextmanager
def _input(path: Path) -> Iterator[BinaryIO]:
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise BadInput(f"{path} can't be read: {error.strerror}") from error
    with file:
        yield file


@contextmanager
def _opened(pipe: VideoPipe, file: BinaryIO) -> Iterator[tuple[InputContainer, _Head]]:
    source: Any = _Head(file.read(4096), file)
    format = _family(pipe, source.head)
    with _translated(pipe, "opening it"):
        container = av.open(
            source,
            "r",
            format=format,
            options={"max_pixels": str(pipe.max_pixels)},
            container_options={"protocol_whitelist": "none"},
            metadata_errors="surrogateescape",
        )
    with container:
        yield container, source


def _family(pipe: VideoPipe, head: bytes) -> str:
    for begin, name in ((b"YUV4MPEG2 ", "yuv4mpegpipe"), (b"nut/multimedia", "nut")):
        if head.startswith(begin):
            return name
    if head[:1] == b"G" and head[188:189] == b"G":
        return "mpegts"
    if head[4:8] == b"ftyp" or head.startswith((b"RIFF", b"\x1a\x45\xdf\xa3")):
        raise Unsupported(
            f"{pipe.path} is a pipe with an mp4, mov, avi, mkv or webm, and only a file tells "
            "where its index is and whether it is whole: send y4m, nut or ts, or use --spool FOLDER"
        )
    raise BadInput(
        f"{pipe.path} is a pipe that begins with {head[:12]!r}, wanted y4m, nut or ts"
        if head
        else f"{pipe.path} is an empty pipe: see that what writes into it works"
    )


def _pictures(
    pipe: VideoPipe, container: InputContainer, head: _Head, threads: int
) -> Generator[VideoFrame]:
    """Pictures that the trim keeps, in order, each as the first one was."""
    stream = pick(Path(pipe.path), container, None)
    context = stream.codec_context
    context.thread_count, context.thread_type = threads, "AUTO"
    context.options = {
        "err_detect": "crccheck+bitstream+buffer+explode",
        "max_pixels": str(pipe.max_pixels),
    }
    base = stream.time_base or Fraction(1, 1000)
    start: int | None = None
    last, kept = Fraction(-1), 0
    kind: tuple[int, int, str] | None = None
    pictures = _decoded(container, stream, head)
    while True:
        doing = "decoding its first picture" if start is None else f"after {float(last):.3f} s"
        with _translated(pipe, doing):
            frame = next(pictures, None)
        if frame is None:
            return
        if frame.pts is None or frame.is_corrupt:
            raise BadInput(f"{pipe.path} is damaged: {doing}, a picture is broken or has no time")
        start = frame.pts if start is None else start
        time = (frame.pts - start) * base
        if time <= last:
            raise BadInput(f"{pipe.path} goes back in time, {doing}: use --spool FOLDER")
        last, found = time, (frame.width, frame.height, frame.format.name)
        kind = kind or found
        if found != kind:
            raise Unsupported(f"{pipe.path} changes at {float(time):.3f} s from {kind} to {found}")
        if pipe.from_ is not None and time < pipe.from_:
            continue
        if (pipe.to is not None and time >= pipe.to) or kept == pipe.frames:
            return
        kept += 1
        yield frame


def _decoded(container: InputContainer, stream: VideoStream, head: _Head) -> Iterator[VideoFrame]:
    """Every picture; EOFError where a y4m ends within one, which FFmpeg passes over."""
    count = payload = 0
    for packet in container.demux(stream):
        count, payload = count + bool(packet.size), payload + packet.size
        yield from stream.decode(packet)
    if container.format.name == "yuv4mpegpipe":
        header, _, rest = head.head.partition(b"\n")
        line = rest.partition(b"\n")[0]  # FRAME, as a rule without anything after it
        if head.taken != len(header) + 1 + payload + count * (len(line) + 1):
            raise EOFError


def _lasting(pictures: Iterator[VideoFrame], spec: StreamSpec) -> Iterator[tuple[VideoFrame, int]]:
    """Pictures and where each ends, in ticks: at the next one, the last as its packet says."""
    held: VideoFrame | None = None
    for following in pictures:
        if held is not None:
            yield held, following.pts or 0
        held = following
    if held is not None:
        usual = max(1, round(1 / (spec.rate or 25) / spec.time_base))
        yield held, (held.pts or 0) + (held.duration or usual)


def _within(pipe: VideoPipe) -> str:
    trimmed = (pipe.from_, pipe.to) != (None, None)
    return f" from {pipe.from_ or 0} s to {pipe.to or 'its end'}" if trimmed else ""


def _colour(frame: VideoFrame) -> ColorTags:
    told = formats.RANGES.get(frame.color_range, "unknown")
    return ColorTags(
        matrix=formats.MATRICES.get(frame.colorspace, "unknown"),
        primaries=formats.PRIMARIES.get(frame.color_primaries, "unknown"),
        transfer=formats.TRANSFERS.get(frame.color_trc, "unknown"),
        range="pc" if "yuvj" in frame.format.name else told,
    )


@contextmanager
def _translated(pipe: VideoPipe, doing: str) -> Iterator[None]:
    try:
        yield
    except (av.FFmpegError, EOFError) as error:
        said = getattr(error, "strerror", None) or "it ends within a picture"
        raise BadInput(f"{pipe.path} is damaged or cut short: {doing}, '{said}'") from error
