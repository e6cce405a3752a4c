"""Write encoded video and the copied packets of the source's other streams to a container."""

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

from filmgate.core.source_metadata import SourceMetadata
from filmgate.media.audio.tempo import choose_audio_codec, choose_sample_rate, set_audio_format
from filmgate.media.containers.open import open_container, translate_write_errors
from filmgate.media.streams.copy import copy_packets
from filmgate.media.streams.selection import (
    MUXERS,
    add_stream,
    choose_streams,
    copy_metadata,
    create_container,
    is_content,
    keep_metadata,
)
from filmgate.media.streams.time_mapping import TimeMapping
from filmgate.media.writing.encoder import copy_raw_tag

_MAX_REORDER = 16  # frames, of any codec


class Muxer:
    """Writes a container: video packets as they come, those of other streams interleaved.

    `video` is a template of the video stream, with packets in `tick` seconds, of `variable` rate
    or not. Other streams, chapters and metadata are copied from `source` and last `time_scale`
    times as long (None: only streams without times). `dropped` names what is not copied. Raises
    Unsupported before the first packet if the container cannot hold a stream.
    """

    def __init__(
        self,
        file: Path | io.BufferedIOBase,
        suffix: str,
        video: VideoStream,
        tick: Fraction,
        source: SourceMetadata,
        *,
        variable: bool,
        time_scale: Fraction | None,
        tags: Mapping[str, str],
    ) -> None:
        self._tick, self._suffix, self._time_scale = tick, suffix, time_scale
        self._is_mp4 = MUXERS[suffix] in ("mp4", "mov")
        # In an mp4 of variable rate, the decoding times before the first frame would change how
        # long the last frame lasts: they are moved close together.
        self._squeezed = self._is_mp4 and variable
        self._last: Packet[Any] | None = None
        self._count = self._start = self._first_dts = 0
        self.dropped: list[str] = []
        with ExitStack() as stack:
            input = None
            if source.path:
                opened = open_container(source.path, max_pixels=source.max_pixels)
                input = stack.enter_context(opened)
            streams = input.streams if input else ()
            others = [s for s in streams if s.index != source.stream and is_content(s)]
            kept, self.dropped, self._converted = choose_streams(suffix, video, others, time_scale)
            self._list_dropped(video, source, variable)
            self._container = stack.enter_context(create_container(file, suffix, tick.denominator))
            self._video, outputs = self._add_streams(video, input, source, kept)
            self._set_metadata(input, tags)
            mapping = TimeMapping(source, time_scale or Fraction(1))
            if input and time_scale:
                self._container.set_chapters(mapping.map_chapters(input))
            elif input and input.chapters():
                self.dropped.append("chapters are left out: their times no longer fit")
            with translate_write_errors(Path(str(file))):
                self._container.start_encoding()
            self._copied: Iterator[Packet[Any]] = iter(())
            if input:
                self._copied = copy_packets(input, outputs, mapping, self._is_mp4, self._converted)
            self._next = next(self._copied, None)
            self._stack = stack.pop_all()

    def write(self, packets: Iterable[Packet[Any]]) -> None:
        """Write packets of the video, in decoding order, with durations in presentation order."""
        for packet in packets:
            pts, dts = packet.pts or 0, packet.dts or 0
            if self._last is None:
                self._start = pts
            if dts > pts or dts < self._start - _MAX_REORDER * max(1, packet.duration or 0):
                dts = pts  # x265 leaves it unset in videos of one or two frames
            if dts < self._start and self._squeezed:
                dts = self._start - _MAX_REORDER + self._count
            if self._last is None:
                self._first_dts = dts
            packet.dts, packet.stream, packet.time_base = dts, self._video, self._tick
            self._mux(self._last)
            self._last, self._count = packet, self._count + 1

    def close(self, end: int | None) -> None:
        """Finish the file with the video's `end` in ticks; None: it is thrown away."""
        with self._stack:
            if end is None:
                return
            if self._last is not None and self._is_mp4:
                # An mp4 stores the end of the last frame as the total of all durations, in
                # decoding order.
                decoded = (self._last.dts or 0) - self._first_dts
                self._last.duration = end - self._start - decoded
            self._mux(self._last)
            self._copy_until(None)
            self._container.close()

    def _mux(self, packet: Packet[Any] | None) -> None:
        if packet is not None:
            self._copy_until((packet.dts or 0) * self._tick)
            self._container.mux_one(packet)

    def _copy_until(self, until: Fraction | None) -> None:
        """Copy packets with times before `until`, so that streams stay interleaved."""
        while self._next is not None:
            packet = self._next
            stamp = packet.pts if packet.dts is None else packet.dts
            if until is not None and stamp is not None and stamp * packet.time_base > until:
                return
            self._container.mux_one(packet)
            self._next = next(self._copied, None)

    def _list_dropped(self, video: VideoStream, source: SourceMetadata, variable: bool) -> None:
        codec = video.codec_context.codec.canonical_name
        if not self._is_mp4 and codec not in ("h264", "hevc") and source.aspect not in (None, 1):
            self.dropped.append(
                f"the pixel aspect {source.aspect} is left out: {self._suffix} cannot store it "
                f"with {codec}"
            )
        if variable and self._suffix == ".nut":
            self.dropped.append("the last frame's duration is left out: .nut cannot store it")

    def _set_metadata(self, input: InputContainer | None, tags: Mapping[str, str]) -> None:
        metadata = self._container.metadata
        metadata.update(keep_metadata(input.metadata) if input else {})
        names = {tag.lower() for tag in tags}
        for old in [key for key in metadata if key.lower() in names]:
            del metadata[old]  # the source is an output of ours and has older tags
        metadata.update(tags)

    def _add_streams(
        self,
        video: VideoStream,
        input: InputContainer | None,
        source: SourceMetadata,
        kept: list[Stream],
    ) -> tuple[Stream, dict[int, Stream]]:
        """Add streams in the source's order; return the video's, and the copied ones by index."""
        outputs: dict[int, Stream] = {}
        if input is None:
            only = self._container.add_stream_from_template(video)
            only.time_base = self._tick
            copy_raw_tag(video, only)
            return only, outputs
        for stream in input.streams:
            if stream.index == source.stream:
                output = self._container.add_stream_from_template(video)
                output.time_base = self._tick
                copy_raw_tag(video, output)
                if self._is_mp4 and video.codec_context.codec.canonical_name == "hevc":
                    output.codec_context.codec_tag = "hvc1"  # QuickTime does not play hev1
                if source.display_matrix:
                    output.set_display_matrix(source.display_matrix)
                copy_metadata(output, stream, self._suffix, reencoded=True)
                outputs[stream.index] = output
            elif stream in kept and isinstance(stream, AudioStream) and self._time_scale != 1:
                outputs[stream.index] = self._add_audio(stream)
            elif stream in kept:
                codec = self._converted.get(stream.index)
                outputs[stream.index] = add_stream(self._container, self._suffix, stream, codec)
        return outputs.pop(source.stream), outputs

    def _add_audio(self, stream: AudioStream) -> AudioStream:
        """Add a stream for audio that is re-encoded."""
        output = self._container.add_stream(
            choose_audio_codec(self._suffix), choose_sample_rate(self._suffix, stream)
        )
        assert isinstance(output, AudioStream)
        set_audio_format(output, stream)
        copy_metadata(output, stream, self._suffix, reencoded=True)
        return output
