"""The muxer: video packets from anywhere, beside the copied packets of all the source's tracks."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from filmgate.media.audio.tempo import codec_for, described, rate_for
from filmgate.media.containers.open import opened, writing
from filmgate.media.source_metadata import SourceMetadata
from filmgate.media.streams.copy import beside
from filmgate.media.streams.selection import FORMATS, alive, blank, chosen, lasting, named, twin
from filmgate.media.streams.time_mapping import TimeMapping

_DEPTH = 16  # frames; no codec reorders more


class Muxer:
    """Writes one file: the picture's packets as they come, other tracks' in step with them.

    `picture`, a template of the video stream, has packets in `tick` seconds, of `variable` rate or
    not. Other tracks, chapters and metadata come from `origin` and last `slow` times as long (None:
    only what has no time). `tags` are added to the metadata. `dropped` says in words what is not
    carried. Raises Unsupported, before the first packet, if the container can't hold a track.
    """

    def __init__(
        self,
        file: Path | io.BufferedIOBase,
        suffix: str,
        picture: VideoStream,
        tick: Fraction,
        origin: SourceMetadata,
        *,
        variable: bool,
        slow: Fraction | None,
        tags: Mapping[str, str],
    ) -> None:
        self._tick, self._suffix = tick, suffix
        self._mov = FORMATS[suffix] in ("mp4", "mov")
        # In an mp4 of variable rate the decoding times before the first frame, which mean nothing,
        # would decide how long the last frame lasts: they are squeezed.
        self._squeezed = self._mov and variable
        self._last: Packet[Any] | None = None
        self._count = self._start = self._first_dts = 0
        self.dropped: list[str] = []
        with ExitStack() as stack:
            source = (
                stack.enter_context(opened(origin.path, max_pixels=origin.max_pixels))
                if origin.path
                else None
            )
            others = (
                [s for s in source.streams if s.index != origin.video and alive(s)]
                if source
                else []
            )
            kept, self.dropped, self._retold = chosen(suffix, picture, others, slow)
            codec = picture.codec_context.codec.canonical_name
            if not self._mov and codec not in ("h264", "hevc") and origin.aspect not in (None, 1):
                self.dropped.append(
                    f"the pixel aspect {origin.aspect} is left out: {suffix} can't hold it "
                    f"with {codec}"
                )
            if variable and suffix == ".nut":
                self.dropped.append("how long the last frame lasts is left out: .nut has no place")
            self._container = stack.enter_context(blank(file, suffix, tick.denominator))
            self._picture, outs = self._lay_out(picture, source, origin, kept, slow)
            told = self._container.metadata
            told.update(lasting(source.metadata) if source else {})
            for old in [key for key in told if key.lower() in {tag.lower() for tag in tags}]:
                del told[old]  # a film that went through before carries an older one
            told.update(tags)
            shift = TimeMapping(origin, slow or Fraction(1))
            if source and slow:
                self._container.set_chapters(shift.chapters(source))
            elif source and source.chapters():
                self.dropped.append("chapters are left out: their times no longer fit")
            with writing(Path(str(file))):
                self._container.start_encoding()
            self._copied: Iterator[Packet[Any]] = iter(())
            if source:
                self._copied = beside(source, outs, shift, self._mov, self._retold)
            self._next = next(self._copied, None)
            self._stack = stack.pop_all()

    def write(self, packets: Iterable[Packet[Any]]) -> None:
        """Takes the picture's packets, in decoding order, durations in shown order."""
        for packet in packets:
            pts, dts = packet.pts or 0, packet.dts or 0
            if self._last is None:
                self._start = pts
            if dts > pts or dts < self._start - _DEPTH * max(1, packet.duration or 0):
                dts = pts  # x265 leaves it unset in films of one or two frames
            if dts < self._start and self._squeezed:
                dts = self._start - _DEPTH + self._count
            if self._last is None:
                self._first_dts = dts
            packet.dts, packet.stream, packet.time_base = dts, self._picture, self._tick
            self._put(self._last)
            self._last, self._count = packet, self._count + 1

    def close(self, end: int | None) -> None:
        """Ends the file, the picture at `end` (ticks); None: it is thrown away."""
        with self._stack:
            if end is None:
                return
            if self._last is not None and self._mov:
                # An mp4 says when its last frame ends by how long all of it lasts, counted in
                # decoding order.
                decoded = (self._last.dts or 0) - self._first_dts
                self._last.duration = end - self._start - decoded
            self._put(self._last)
            self._pump(None)
            self._container.close()

    def _put(self, packet: Packet[Any] | None) -> None:
        if packet is not None:
            self._pump((packet.dts or 0) * self._tick)
            self._container.mux_one(packet)

    def _pump(self, until: Fraction | None) -> None:
        """Copies what comes before `until`, so that neither waits long for the other."""
        while self._next is not None:
            packet = self._next
            stamp = packet.pts if packet.dts is None else packet.dts
            if until is not None and stamp is not None and stamp * packet.time_base > until:
                return
            self._container.mux_one(packet)
            self._next = next(self._copied, None)

    def _lay_out(
        self,
        picture: VideoStream,
        source: InputContainer | None,
        origin: SourceMetadata,
        kept: list[Stream],
        slow: Fraction | None,
    ) -> tuple[Stream, dict[int, Stream]]:
        """Streams in the source's order: the picture's, and by number those that are copied."""
        outs: dict[int, Stream] = {}
        if source is None:
            alone = self._container.add_stream_from_template(picture)
            alone.time_base = self._tick
            return alone, outs
        for stream in source.streams:
            if stream.index == origin.video:
                made = self._container.add_stream_from_template(picture)
                made.time_base = self._tick
                if self._mov and picture.codec_context.codec.canonical_name == "hevc":
                    made.codec_context.codec_tag = "hvc1"  # QuickTime plays no hev1
                if origin.turn:
                    made.set_display_matrix(origin.turn)
                named(made, stream, self._suffix, anew=True)
                outs[stream.index] = made
            elif stream in kept and isinstance(stream, AudioStream) and slow != 1:
                outs[stream.index] = self._new_sound(stream)
            elif stream in kept:
                outs[stream.index] = twin(
                    self._container, self._suffix, stream, self._retold.get(stream.index)
                )
        return outs.pop(origin.video), outs

    def _new_sound(self, like: AudioStream) -> AudioStream:
        made = self._container.add_stream(codec_for(self._suffix), rate_for(self._suffix, like))
        assert isinstance(made, AudioStream)
        described(made, like)
        named(made, like, self._suffix, anew=True)
        return made
