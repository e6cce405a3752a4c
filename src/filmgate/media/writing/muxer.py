"""Write encoded video and the copied packets of the source's other streams to a container."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import StreamsRefused
from filmgate.media.containers.open import open_source, translate_write_errors
from filmgate.media.options import StreamOptions
from filmgate.media.streams.copied_streams import CopiedStreams
from filmgate.media.streams.output_container import create_container, is_mp4
from filmgate.media.streams.output_streams import add_stream, copy_metadata, keep_metadata
from filmgate.media.streams.replaced_audio import INDEX, ReplacedAudio
from filmgate.media.streams.selection import StreamSelection, choose_streams
from filmgate.media.streams.time_mapping import TimeMapping
from filmgate.media.streams.timecode import find_misfit, find_timecode
from filmgate.media.streams.trial import REFUSALS
from filmgate.media.writing.encoder import copy_raw_tag
from filmgate.media.writing.pixel_aspect import AspectStore

_MAX_REORDER = 16  # frames, of any codec


class Muxer:
    """Writes a container: video packets as they come, those of other streams interleaved.

    `video` is a template of the video stream, with packets in `tick` seconds, of `variable` rate
    or not. Other streams, chapters and metadata are copied from `source` as `streams` says, and
    last `time_scale` times as long (None: only streams without times); those in `failed` are left
    out. `dropped` names what is not copied; `is_complete` is False if that was found too late to
    prevent it. Raises Unsupported before the first packet if the container cannot hold a stream.
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
        streams: StreamOptions,
        failed: AbstractSet[int] = frozenset(),
    ) -> None:
        self._tick, self._suffix = tick, suffix
        self._is_mp4 = is_mp4(suffix)
        # In an mp4 of variable rate, the decoding times before the first frame would change how
        # long the last frame lasts: they are moved close together.
        self._squeezed = self._is_mp4 and variable
        self._last: Packet[Any] | None = None
        self._count = self._start = self._first_dts = 0
        self.dropped: list[str] = []
        self.is_complete = not failed
        self._chosen = StreamSelection()
        self._copied: CopiedStreams | None = None
        self._audio: ReplacedAudio | None = None
        self._aspect = AspectStore(file, suffix, video, source.aspect)
        with ExitStack() as stack:
            input = None
            if source.path:
                input = stack.enter_context(open_source(source))
                others = [s for s in input.streams if not source.audio or s.type != "audio"]
                self._chosen = choose_streams(
                    suffix, video, others, source, time_scale, streams, failed
                )
                self.dropped = self._chosen.messages
            if source.audio and streams.audio != "drop" and INDEX not in failed:
                self._audio = ReplacedAudio(source.audio, suffix, video, streams, stack)
                self.dropped += self._audio.messages
            self._list_dropped(variable)
            part = self._aspect.open(stack)
            self._container = stack.enter_context(create_container(part, suffix, tick.denominator))
            self._video, outputs = self._add_streams(video, input, source)
            if self._audio:
                self._audio.add(self._container)
            self._set_metadata(input, tags)
            mapping = TimeMapping(source, time_scale or Fraction(1))
            if input and time_scale:
                self._container.set_chapters(mapping.map_chapters(input))
            elif input and input.chapters():
                self.dropped.append("chapters are left out: their times no longer fit")
            self._set_timecode(input, source, video)
            with translate_write_errors(Path(str(file))):
                self._container.start_encoding()
            if input:
                kept = self._chosen.kept
                self._copied = CopiedStreams(input, suffix, outputs, kept, mapping)
            if self._audio:
                self._audio.start()
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
        try:
            if end is not None:
                self._finish(end)
        except BaseException:
            with suppress(*REFUSALS):  # from the trailer of a file that is thrown away
                self._stack.close()
            raise
        self._stack.close()

    def _finish(self, end: int) -> None:
        if self._last is not None and self._is_mp4:
            # An mp4 stores the end of the last frame as the total of all durations, in
            # decoding order.
            decoded = (self._last.dts or 0) - self._first_dts
            self._last.duration = end - self._start - decoded
        self._mux(self._last)
        self._copy_until(None)
        if self._audio is not None:  # as long as the video: it may be longer
            for packet in self._audio.read_until(end * self._tick):
                self._mux_packet(packet)
            if failed := self._audio.finish():
                raise StreamsRefused(self._suffix, failed)
        if self._copied is not None:
            if failed := self._copied.finish():
                raise StreamsRefused(self._suffix, failed)
            self.dropped += self._copied.report.describe(self._suffix)
            self.is_complete &= self._copied.report.is_complete
        self._close_container()
        self._aspect.finish()

    def _mux(self, packet: Packet[Any] | None) -> None:
        if packet is not None:
            if self._audio or (self._copied and self._copied.has_more):
                self._copy_until((packet.dts or 0) * self._tick)
            self._mux_packet(packet)

    def _copy_until(self, until: Fraction | None) -> None:
        """Copy packets with times before `until`, so that streams stay interleaved."""
        if self._copied is not None:
            for packet in self._copied.read_until(until):
                self._mux_packet(packet)
        if self._audio is not None and until is not None:
            for packet in self._audio.read_until(until):
                self._mux_packet(packet)

    def _mux_packet(self, packet: Packet[Any]) -> None:
        try:
            self._container.mux_one(packet)
        except REFUSALS as error:
            self._blame_copied(error)
            raise

    def _close_container(self) -> None:
        try:
            self._container.close()
        except REFUSALS as error:
            self._blame_copied(error)
            raise

    def _blame_copied(self, error: Exception) -> None:
        """Raise StreamsRefused for all copied streams, if there are any."""
        copied = (self._copied, self._audio)
        streams = {k: name for one in copied if one for k, name in one.describe().items()}
        if streams:
            raise StreamsRefused(self._suffix, streams) from error

    def _list_dropped(self, variable: bool) -> None:
        if self._aspect.message:
            self.dropped.append(self._aspect.message)
        if variable and self._suffix == ".nut":
            self.dropped.append("the last frame's duration is left out: .nut cannot store it")

    def _set_metadata(self, input: InputContainer | None, tags: Mapping[str, str]) -> None:
        metadata = self._container.metadata
        metadata.update(keep_metadata(input.metadata) if input else {})
        names = {tag.lower() for tag in tags}
        for old in [key for key in metadata if key.lower() in names]:
            del metadata[old]  # the source is an output of ours and has older tags
        metadata.update(tags)
        self._aspect.reserve(self._video.metadata)

    def _set_timecode(
        self, input: InputContainer | None, source: SourceMetadata, video: VideoStream
    ) -> None:
        """Tag the video with the source's time code if it is kept and fits the result."""
        for metadata in (self._video.metadata, self._container.metadata):
            metadata.pop("timecode", None)
        code = find_timecode(input, source.stream) if input else None
        if input is None or code is None or not self._chosen.keeps_timecode:
            return
        rate = video.codec_context.framerate
        if why := find_misfit(code, input.streams[source.stream], source, rate):
            self.dropped.append(f"the time code {code} is left out: {why}")
        else:
            self._video.metadata["timecode"] = code

    def _add_streams(
        self, video: VideoStream, input: InputContainer | None, source: SourceMetadata
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
            elif stream.index in self._chosen.kept:
                codec = self._chosen.kept[stream.index]
                outputs[stream.index] = add_stream(self._container, self._suffix, stream, codec)
        return outputs.pop(source.stream), outputs
