"""What is in a file: its container, every stream, chapters, metadata."""

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
from filmgate.errors import BadInput, UserError
from filmgate.media.containers.open import opened, translated
from filmgate.media.pixels import formats
from filmgate.media.reading.decoder import pick
from filmgate.media.reading.video_reader import VideoReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What a video stream looks like: pixels, frames per second, degrees counter-clockwise.

    `rate` is the average one; `turn` is None where only the header was read.
    """

    width: int
    height: int
    rate: Fraction | None
    pixels: str
    colour: ColorTags
    aspect: Fraction | None
    turn: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One stream; times in seconds of the container's timeline, None where it does not tell.

    `kind` is video, audio, subtitle, attachment or data; `traits` are FFmpeg's dispositions.
    """

    index: int
    kind: str
    codec: str
    language: str | None
    traits: tuple[str, ...]
    time_base: Fraction | None
    start: Fraction | None
    duration: Fraction | None
    metadata: dict[str, str]
    picture: Picture | None = None
    sample_rate: int | None = None
    channels: int | None = None


@dataclass(frozen=True, slots=True)
class Chapter:
    """A named stretch, in seconds of the container's timeline."""

    start: Fraction
    end: Fraction
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All that a file says of itself; `best` is the video stream that would be processed."""

    path: Path
    container: str
    size_bytes: int
    start: Fraction | None
    duration: Fraction | None
    best: int | None
    tracks: tuple[Track, ...]
    chapters: tuple[Chapter, ...]
    metadata: dict[str, str]


def probe(path: Path, header: bool = False) -> Contents:
    """What is in `path`; with `header`, without decoding a picture. Raises BadInput."""
    with opened(path) as container:
        try:
            best: int | None = pick(path, container, None).index
        except BadInput:
            best = None  # sound only: still worth showing
        return Contents(
            path=path,
            container=container.format.name,
            size_bytes=container.size,
            start=_seconds(container.start_time, Fraction(1, av.time_base)),
            duration=_seconds(container.duration, Fraction(1, av.time_base)),
            best=best,
            tracks=tuple(_track(path, s, header) for s in container.streams),
            chapters=tuple(
                Chapter(c["start"] * tick, c["end"] * tick, c["metadata"])
                for c in container.chapters()
                if (tick := c["time_base"])
            ),
            metadata=dict(container.metadata),
        )


def times(path: Path, video: int | None = None) -> Iterator[tuple[Fraction, Fraction]]:
    """(time, duration) of every frame decoded and shown, in seconds of film time."""
    return VideoReader.of(path, video).times()


def first_sound(path: Path, track: int | None = None) -> Fraction | None:
    """Container time where the first sound packet begins, in seconds; None without sound.

    `track` None: the first sound track. A codec's run-in counts, although an mp4 hides it: so the
    distance to a film's `offset` is the same in every container if sound is in step.
    """
    with opened(path) as container:
        found = [s for s in container.streams.audio if track in (None, s.index)]
        if not found:
            return None
        with translated(path, f"reading the beginning of track {found[0].index}"):
            for packet in container.demux(found[0]):
                if packet.pts is not None and packet.size and not packet.is_discard:
                    return packet.pts * packet.time_base
    return None


def _track(path: Path, stream: Stream, header: bool) -> Track:
    context = stream.codec_context
    sound = stream if isinstance(stream, AudioStream) else None
    return Track(
        index=stream.index,
        kind=stream.type,
        codec=context.codec.canonical_name if context else stream.name or "unknown",
        language=stream.language,
        traits=tuple(d.name for d in Disposition if d & stream.disposition and d.name),
        time_base=stream.time_base,
        start=_seconds(stream.start_time, stream.time_base),
        duration=_seconds(stream.duration, stream.time_base),
        metadata=dict(stream.metadata),
        picture=_picture(path, stream, header) if isinstance(stream, VideoStream) else None,
        sample_rate=sound.codec_context.sample_rate if sound else None,
        channels=sound.codec_context.channels if sound else None,
    )


def _picture(path: Path, stream: VideoStream, header: bool) -> Picture:
    context = stream.codec_context
    return Picture(
        width=context.width,
        height=context.height,
        rate=stream.average_rate,
        pixels=context.pix_fmt or "unknown",
        colour=ColorTags(
            matrix=formats.MATRICES.get(context.colorspace, "unknown"),
            primaries=formats.PRIMARIES.get(context.color_primaries, "unknown"),
            transfer=formats.TRANSFERS.get(context.color_trc, "unknown"),
            range=formats.RANGES.get(context.color_range, "unknown"),
        ),
        aspect=stream.sample_aspect_ratio,
        turn=None if header else _turn(path, stream.index),
    )


def _turn(path: Path, index: int) -> int | None:
    with opened(path) as container:
        try:
            with translated(path, "decoding its first picture"):
                frame: Any = next(container.decode(container.streams[index]), None)
        except UserError:
            return None
        return None if frame is None else frame.rotation


def _seconds(ticks: int | None, base: Fraction | None) -> Fraction | None:
    return None if ticks is None or base is None else ticks * base
