"""What is in a file: its container, streams, chapters and metadata."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from filmgate.core.frame import ColorTags
from filmgate.errors import BadInput, Unsupported, UserError
from filmgate.media.containers.open import open_container, translate_errors
from filmgate.media.pixels.av_frames import read_color_tags
from filmgate.media.reading.stream_info import choose_stream
from filmgate.media.sources import VideoFile
from filmgate.media.streams.description import has_decoder, name_codec


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """Properties of a video stream: pixels, average frames per second, degrees counter-clockwise.

    `rotation` is None where only the header was read.
    """

    width: int
    height: int
    rate: Fraction | None
    pixels: str
    colour: ColorTags
    aspect: Fraction | None
    rotation: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """One stream; times in seconds of the container's timeline, None where unknown.

    `kind` is video, audio, subtitle, attachment or data; `dispositions` are FFmpeg's names.
    """

    index: int
    kind: str
    codec: str
    language: str | None
    dispositions: tuple[str, ...]
    time_base: Fraction | None
    start: Fraction | None
    duration: Fraction | None
    metadata: dict[str, str]
    video: VideoInfo | None = None
    sample_rate: int | None = None
    channels: int | None = None


@dataclass(frozen=True, slots=True)
class Chapter:
    """A chapter, in seconds of the container's timeline."""

    start: Fraction
    end: Fraction
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """The contents of a file; `best` is the index of the video stream processed by default."""

    path: Path
    container: str
    size_bytes: int
    start: Fraction | None
    duration: Fraction | None
    best: int | None
    streams: tuple[StreamInfo, ...]
    chapters: tuple[Chapter, ...]
    metadata: dict[str, str]

    @property
    def tracks(self) -> list[StreamInfo]:
        """All streams but data and the still image of an animated AVIF, which a result lacks."""
        posters = [
            s for s in self.streams
            if s.kind == "video" and s.duration is None and s.index != self.best
            and "mov" in self.container and "attached_pic" not in s.dispositions
        ]  # fmt: skip
        return [s for s in self.streams if s.kind != "data" and s not in posters]


def probe(path: Path, header: bool = False, parts: tuple[Path, ...] = ()) -> MediaInfo:
    """Return what is in `path`; with `header`, without decoding a frame. Raises BadInput.

    `parts` are files that follow it, as parts of one video.
    """
    with open_container(path, parts=parts) as container:
        try:
            best: int | None = choose_stream(path, container, None).index
        except (BadInput, Unsupported):
            best = None  # no video, or none that can be decoded: the rest is still worth showing
        return MediaInfo(
            path=path,
            container=container.format.name,
            size_bytes=container.size,
            start=_to_seconds(container.start_time, Fraction(1, av.time_base)),
            duration=_to_seconds(container.duration, Fraction(1, av.time_base)),
            best=best,
            streams=tuple(_describe_stream(path, s, header) for s in container.streams),
            chapters=tuple(
                Chapter(c["start"] * tick, c["end"] * tick, c["metadata"])
                for c in container.chapters()
                if (tick := c["time_base"])
            ),
            metadata=dict(container.metadata),
        )


def read_frame_times(path: Path, stream: int | None = None) -> Iterator[tuple[Fraction, Fraction]]:
    """Yield (time, duration) of every shown frame in seconds; each frame is decoded."""
    return VideoFile(path, stream).open().iter_times()


def find_audio_start(path: Path, index: int | None = None) -> Fraction | None:
    """Return the container time of the first audio packet, in seconds; None without audio.

    `index` None: of the first audio stream. A codec's run-in counts, although an mp4 hides it: so
    the distance to a video's `offset` is the same in every container if audio is in sync.
    """
    with open_container(path) as container:
        streams = [s for s in container.streams.audio if index in (None, s.index)]
        if not streams:
            return None
        with translate_errors(path, f"reading the start of stream {streams[0].index}"):
            for packet in container.demux(streams[0]):
                if packet.pts is not None and packet.size and not packet.is_discard:
                    return packet.pts * packet.time_base
    return None


def _describe_stream(path: Path, stream: Stream, header: bool) -> StreamInfo:
    known = has_decoder(stream)
    audio = stream if isinstance(stream, AudioStream) and known else None
    video = stream if isinstance(stream, VideoStream) and known else None
    return StreamInfo(
        index=stream.index,
        kind=stream.type,
        codec=name_codec(stream),
        language=stream.language,
        dispositions=tuple(d.name for d in Disposition if d & stream.disposition and d.name),
        time_base=stream.time_base,
        start=_to_seconds(stream.start_time, stream.time_base),
        duration=_to_seconds(stream.duration, stream.time_base),
        metadata=dict(stream.metadata),
        video=_describe_video(path, video, header) if video else None,
        sample_rate=audio.codec_context.sample_rate if audio else None,
        channels=audio.codec_context.channels if audio else None,
    )


def _describe_video(path: Path, stream: VideoStream, header: bool) -> VideoInfo:
    context = stream.codec_context
    return VideoInfo(
        width=context.width,
        height=context.height,
        rate=stream.average_rate,
        pixels=context.pix_fmt or "unknown",
        colour=read_color_tags(context, "unknown"),
        aspect=stream.sample_aspect_ratio,
        rotation=None if header else _read_rotation(path, stream.index),
    )


def _read_rotation(path: Path, index: int) -> int | None:
    with open_container(path) as container:
        try:
            with translate_errors(path, "decoding its first frame"):
                frame: Any = next(container.decode(container.streams[index]), None)
        except UserError:
            return None
        return None if frame is None else frame.rotation


def _to_seconds(ticks: int | None, base: Fraction | None) -> Fraction | None:
    return None if ticks is None or base is None else ticks * base
