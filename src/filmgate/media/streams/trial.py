"""Try whether a container takes a stream: header, packets and trailer."""

from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from typing import Any

import av
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from filmgate.media.streams.description import has_decoder, name_codec
from filmgate.media.streams.growing_times import GrowingTimes
from filmgate.media.streams.output_container import (
    MUXERS,
    allows_equal_times,
    create_container,
)
from filmgate.media.streams.output_streams import add_stream
from filmgate.media.streams.subtitles import SubtitleConverter

# What libav and PyAV raise for a stream or packet that a container cannot hold, or that it lost; a
# full disk is none of them.
REFUSALS = (av.ArgumentError, av.InvalidDataError, av.PatchWelcomeError, av.EOFError, ValueError,
            IndexError)  # fmt: skip


class DiscardedFile(io.RawIOBase):
    """A file that keeps nothing of what is written to it."""

    def __init__(self) -> None:
        self._position = self._size = 0

    def write(self, data: Any) -> int:
        self._position += len(data)
        self._size = max(self._size, self._position)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}
        self._position = origins[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


class StreamTrial:
    """A container with one stream that is thrown away: what it takes, the output takes.

    The output's own container reports an error of one stream at a packet of another, because it
    orders them. Raises one of REFUSALS if the container cannot hold the stream.
    """

    def __init__(
        self,
        suffix: str,
        stream: Stream,
        codec: str | None = None,
        file: io.IOBase | None = None,
    ) -> None:
        self._container = create_container(file or DiscardedFile(), suffix)
        self.stream = add_stream(self._container, suffix, stream, codec)
        self._container.start_encoding()

    def accepts(self, packet: Packet[Any]) -> bool:
        """Whether the stream can hold the packet, after those before."""
        packet.stream = self.stream
        try:
            self._container.mux_one(packet)
        except REFUSALS:
            return False
        return True

    def finish(self) -> bool:
        """Whether the stream can be completed."""
        try:
            self._container.close()
        except REFUSALS:
            return False
        return True


def fits_header(
    suffix: str, video: VideoStream, stream: Stream | None = None, codec: str | None = None
) -> bool:
    """Whether a container can hold the video and another stream, by its header.

    PCM of floating point in an mp4 (ISO/IEC 23003-5) is no use: few programs play it.
    """
    name = codec or (name_codec(stream) if stream is not None else "")
    if name.startswith(("pcm_f32", "pcm_f64")) and MUXERS[suffix] == "mp4":
        return False
    try:
        with create_container(io.BytesIO(), suffix) as trial:
            trial.add_stream_from_template(video)
            if stream is not None:
                add_stream(trial, suffix, stream, codec)
            trial.start_encoding()
    except (ValueError, av.FFmpegError):
        return False
    return True


def fits_packets(
    suffix: str,
    stream: Stream,
    packets: Iterable[Packet[Any]],
    codec: str | None = None,
    *,
    seconds: Fraction = Fraction(0),
) -> bool:
    """Whether a container takes these packets of a stream, can be completed, and is read back.

    `codec`: that of subtitles that are converted. `seconds`: how much audio the packets have when
    they are decoded. The packets' times are changed.
    """
    file = io.BytesIO()
    try:
        trial = StreamTrial(suffix, stream, codec, file)
        times = GrowingTimes(trial.stream.time_base or Fraction(1), allows_equal_times(suffix))
        if codec:
            converter = SubtitleConverter(name_codec(stream), codec, lambda _: None)
            parts = [*map(converter.convert, packets), converter.release(None)]
            packets = chain.from_iterable(parts)
        for packet in packets:
            times.apply(packet)
            if not trial.accepts(packet):
                return False
        return trial.finish() and (not seconds or read_seconds(file, suffix) > seconds / 2)
    except REFUSALS:
        return False


def decode_seconds(stream: AudioStream, packets: Iterable[Packet[Any]]) -> Fraction:
    """Return how much audio the packets have when they are decoded; 0 if one is damaged."""
    total = Fraction(0)
    try:
        for packet in packets:
            total += sum(Fraction(f.samples, f.sample_rate) for f in stream.decode(packet))
    except (av.FFmpegError, ValueError):
        return Fraction(0)
    return total


def read_seconds(file: io.BytesIO, suffix: str) -> Fraction:
    """Return how many seconds of audio a complete file has. Raises one of REFUSALS."""
    file.seek(0)
    with av.open(file, "r", format=MUXERS[suffix]) as container:
        stream = container.streams.audio[0]
        if not has_decoder(stream):
            return Fraction(0)
        return decode_seconds(stream, container.demux(stream))
