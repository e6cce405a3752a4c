"""Several files as one container on one timeline: parts of a recording, or of a disc's title."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from filmgate.errors import BadInput

_Opener: TypeAlias = Callable[[Path], AbstractContextManager[InputContainer]]


@dataclass(frozen=True, slots=True)
class PartInfo:
    """What a file has that may be a part: `start` and `end` of its video in seconds.

    `streams` describes each: a text, the time base and the codec's own header. `frames`: of the
    video, by its header; 0 if unknown.
    """

    streams: tuple[tuple[str, object, bytes | None], ...]
    start: Fraction
    end: Fraction
    frames: int
    size: int
    chapters: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """A file, and the seconds to add to its times."""

    path: Path
    shift: Fraction
    start: Fraction
    end: Fraction


class JoinedContainer:
    """Containers of the same streams, read as one; it has what is used of an InputContainer.

    The first frame of a part follows the last one of the part before, and all its streams move
    with it. Raises BadInput, with the streams that differ, if they are not parts of one recording.
    `inspect` returns `inspect_part` of a file.
    """

    def __init__(
        self, paths: Sequence[Path], open_part: _Opener, inspect: Callable[[Path], PartInfo]
    ) -> None:
        self._open_part, self._stack = open_part, ExitStack()
        self._reading = ExitStack()  # the part from which packets come
        self._first = self._stack.enter_context(open_part(paths[0]))
        self._parts: list[_Part] = []
        self._chapters: list[Any] = []
        self.frames = self.size = 0
        first = inspect(paths[0])
        for path in paths:
            part = inspect(path)
            if differing := _compare_streams(first, part):
                raise BadInput(
                    f"{path} is no part of the same video as {paths[0]}: {differing}. Join parts "
                    "of one recording, or convert each to one size, rate and codec first"
                )
            self._add(path, part)
        self._current = 0
        self._heard: dict[int, int] = {}  # where audio ends so far, by stream
        self._seek: tuple[int, Stream | None] | None = None
        # an index of one part is not that of all
        name = self._first.format.name
        self.format = SimpleNamespace(
            name="joined" if "mov" in name else name, flags=self._first.format.flags
        )
        self.streams, self.metadata = self._first.streams, self._first.metadata
        self.start_time = self._first.start_time
        last = self._parts[-1]
        self.end = last.end + last.shift
        start = Fraction(self.start_time or 0, av.time_base)
        self.duration = int((self.end - start) * av.time_base)

    def _add(self, path: Path, part: PartInfo) -> None:
        before = self._parts[-1] if self._parts else None
        shift = before.end + before.shift - part.start if before else Fraction(0)
        self._parts.append(_Part(path, shift, part.start, part.end))
        self.frames += part.frames
        self.size += part.size
        for chapter in part.chapters:
            ticks = round(shift / Fraction(chapter["time_base"] or 1))
            moved = {name: chapter[name] + ticks for name in ("start", "end")}
            self._chapters.append({**chapter, "id": len(self._chapters), **moved})

    def chapters(self) -> list[Any]:
        """Return the chapters of all parts, moved."""
        return list(self._chapters)

    def seek(self, offset: int, *, stream: Stream | None = None, **_: object) -> None:
        """Seek in the part that has this time, as InputContainer does."""
        tick = Fraction(1, av.time_base) if stream is None else stream.time_base or Fraction(1)
        time = offset * tick
        self._heard = {}
        starts = [part.start + part.shift for part in self._parts]
        self._current = max((n for n, start in enumerate(starts) if start <= time), default=0)
        self._seek = (offset - round(self._parts[self._current].shift / tick), stream)
        for own in self.streams:
            if own.codec_context is not None:
                own.codec_context.flush_buffers()

    def demux(self, *streams: Any) -> Iterator[Packet[Any]]:
        """Yield packets of these streams, or of all, and an empty one for each at the end."""
        chosen = {stream.index for stream in _flatten(streams)}
        chosen = chosen or {stream.index for stream in self.streams}
        while self._current < len(self._parts):
            part = self._parts[self._current]
            self._reading.close()
            container = self._reading.enter_context(self._open_part(part.path))
            if self._seek is not None:
                offset, stream = self._seek
                self._seek = None
                own = container.streams[stream.index] if stream is not None else None
                container.seek(offset, stream=own)
            for packet in container.demux([container.streams[n] for n in sorted(chosen)]):
                if packet.size:
                    yield self._show_hidden(self._shift(packet, part.shift))
            self._current += 1
        for index in sorted(chosen):
            end: Packet[Any] = Packet()
            end.stream = self.streams[index]
            yield end

    def _shift(self, packet: Packet[Any], shift: Fraction) -> Packet[Any]:
        """Return the packet on the timeline of all, as one of the first part's stream."""
        ticks = round(shift / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
        packet.stream = self.streams[packet.stream.index]
        return packet

    def _show_hidden(self, packet: Packet[Any]) -> Packet[Any]:
        """Return audio that a later part hides at its start if it fills the gap before that part.

        Where a recording was cut, the packet that spans the cut is in the part that follows.
        """
        if packet.stream.type != "audio" or packet.pts is None:
            return packet
        index, length = packet.stream.index, packet.duration or 0
        end = self._heard.get(index)
        if packet.is_discard and end is not None and packet.pts >= end - length // 2:
            shown: Packet[Any] = Packet(bytes(packet))
            shown.pts, shown.dts, shown.duration = packet.pts, packet.dts, packet.duration
            shown.stream, shown.time_base = packet.stream, packet.time_base
            shown.is_keyframe = packet.is_keyframe
            packet = shown
        if not packet.is_discard:
            self._heard[index] = (packet.pts or 0) + length
        return packet

    def decode(self, *streams: Any) -> Iterator[Any]:
        """Yield decoded frames of these streams."""
        for packet in self.demux(*streams):
            yield from packet.decode()

    def close(self) -> None:
        """Close the first part, and the one that is read."""
        self._reading.close()
        self._stack.close()


def find_total(container: object) -> tuple[int, Fraction] | None:
    """Return how many frames all parts have by their headers (0: unknown), and the end of the last.

    In seconds. None if the container is one file.
    """
    return (container.frames, container.end) if isinstance(container, JoinedContainer) else None


def _flatten(streams: Sequence[Any]) -> Iterator[Stream]:
    for item in streams:
        yield from item if isinstance(item, list | tuple) else (item,)


def find_video(container: InputContainer, path: Path) -> VideoStream:
    videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    best = container.streams.best("video")
    if not videos:
        raise BadInput(f"{path} has no video stream: name parts that have one")
    return next((s for s in videos if best and s.index == best.index), videos[0])


def inspect_part(container: InputContainer, path: Path) -> PartInfo:
    """Return what the open file `path` has; where no index says its times, packets are read.

    Raises BadInput if it has no video, and FFmpeg's errors.
    """
    streams, video = tuple(map(_describe, container.streams)), find_video(container, path)
    start, end = _measure_video(container, video)
    frames, size, chapters = video.frames, container.size, tuple(container.chapters())
    return PartInfo(streams, start, end, frames, size, chapters)


def _measure_video(container: InputContainer, video: VideoStream) -> tuple[Fraction, Fraction]:
    """Return when the video starts and ends, in seconds."""
    tick = video.time_base or Fraction(1)
    if "mov" in container.format.name and video.duration:
        start = video.start_time or 0
        return start * tick, (start + video.duration) * tick
    lengths: dict[int, int] = {}  # of frames, by their starts
    by_dts = container.format.name == "gxf"  # its pts and durations are FFmpeg's guesses
    for packet in container.demux(video):
        stamp = packet.dts if by_dts or packet.pts is None else packet.pts
        if packet.size and stamp is not None and not packet.is_discard:
            lengths[stamp] = 0 if by_dts else packet.duration or 0
    if not lengths:
        return Fraction(0), Fraction(0)
    start, last = min(lengths), max(lengths)
    usual = Fraction(last - start, max(1, len(lengths) - 1))
    end = max(last + (lengths[last] or usual), *(at + length for at, length in lengths.items()))
    return start * tick, end * tick


def _compare_streams(first: PartInfo, other: PartInfo) -> str:
    """Return how the streams of two files differ; empty if they can be joined."""
    if len(first.streams) != len(other.streams):
        return f"it has {len(other.streams)} streams, the first has {len(first.streams)}"
    for index, (ours_one, other_one) in enumerate(zip(first.streams, other.streams, strict=True)):
        if ours_one != other_one:
            return f"stream {index} is {other_one[0]}, of the first {ours_one[0]}"
    return ""


def _describe(stream: Stream) -> tuple[str, object, bytes | None]:
    """Return what must be equal in parts."""
    codec: Any = stream.codec_context
    if codec is None:
        return stream.type, stream.time_base, None
    text = f"{codec.name} {stream.type}"
    if isinstance(stream, VideoStream):
        text += f" {codec.width}x{codec.height} {codec.pix_fmt}"
    if stream.type == "audio":
        text += f" {codec.sample_rate} Hz, {codec.channels} channels"
    return text, stream.time_base, bytes(codec.extradata or b"")
