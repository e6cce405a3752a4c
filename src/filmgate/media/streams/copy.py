"""Copy the other streams' packets to the output, retimed for trimming and tempo."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from functools import partial
from typing import Any

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from filmgate.core.source_metadata import SourceMetadata
from filmgate.media.audio.tempo import encode_audio
from filmgate.media.containers.open import open_source
from filmgate.media.streams.description import describe_stream, is_cover, name_codec
from filmgate.media.streams.packets import get_time, read_packets
from filmgate.media.streams.report import CopyReport
from filmgate.media.streams.subtitles import SubtitleConverter
from filmgate.media.streams.time_mapping import TimeMapping

_MAX_LATE = Fraction(1)  # seconds that subtitles may be stored behind other streams
_MAX_INTERLEAVE = Fraction(10)  # seconds; no container stores a packet further behind the others


def copy_packets(
    container: InputContainer,
    outputs: Mapping[int, Stream],
    codecs: Mapping[int, str | None],
    mapping: TimeMapping,
    keeps_hidden: bool,
    report: CopyReport,
) -> Iterator[Packet[Any]]:
    """Yield packets for `outputs`, by index of the source's stream, roughly in order of time.

    Streams with one of `codecs` are converted: audio is re-encoded, and `outputs` has its encoder.
    Audio that the source hides is copied only if the output's container `keeps_hidden` packets too.
    What cannot be read is left out, and in `report`.
    """
    encoded = {n: out for n, out in outputs.items() if codecs[n] and isinstance(out, AudioStream)}
    copied = {n: out for n, out in outputs.items() if n not in encoded}
    parts = [_copy_streams(container, copied, codecs, mapping, keeps_hidden, report)]
    parts += [_encode_stream(n, encoded[n], mapping, report) for n in sorted(encoded)]
    return heapq.merge(*parts, key=_order)


def _order(packet: Packet[Any]) -> Fraction:
    return get_time(packet) or Fraction(0)


def _encode_stream(
    index: int, output: AudioStream, mapping: TimeMapping, report: CopyReport
) -> Iterator[Packet[Any]]:
    """Yield the packets of an audio stream that is re-encoded."""
    source = mapping.source
    with open_source(source) as container:
        stream = next(s for s in container.streams.audio if s.index == index)
        packets = read_packets(container, [stream], source.stream, report)
        yield from encode_audio(
            packets,
            stream,
            output,
            source,
            mapping.time_scale,
            lambda time: report.skip(describe_stream(stream), mapping(time)),
        )


def _copy_streams(
    container: InputContainer,
    outputs: Mapping[int, Stream],
    codecs: Mapping[int, str | None],
    mapping: TimeMapping,
    keeps_hidden: bool,
    report: CopyReport,
) -> Iterator[Packet[Any]]:
    until = mapping.source.until
    streams = [
        s for s in container.streams
        if s.index in outputs and outputs[s.index].type != "attachment"
    ]  # fmt: skip
    if not streams:
        return
    # streams whose next packet needs no earlier one: a video starts with a keyframe
    started = {s.index for s in streams if s.type != "video"}
    converters = {
        s.index: SubtitleConverter(name_codec(s), codec, partial(report.refuse, describe_stream(s)))
        for s in streams
        if (codec := codecs[s.index])
    }
    for packet in read_packets(container, streams, mapping.source.stream, report):
        stream = packet.stream
        if packet.is_discard and stream.type == "audio" and not keeps_hidden:
            continue
        timed = not is_cover(stream)
        if until is not None and timed and _order(packet) > until + _MAX_INTERLEAVE:
            break
        if mapping.changes_times and timed:
            if not _is_kept(packet, mapping.source, keeps_hidden, stream.index in started):
                continue
            started.add(stream.index)
            _retime(packet, mapping)
        yield from _convert(packet, converters, outputs)
    for index, converter in converters.items():
        yield from _put(converter.release(None), outputs[index])


def _convert(
    packet: Packet[Any], converters: Mapping[int, SubtitleConverter], outputs: Mapping[int, Stream]
) -> Iterator[Packet[Any]]:
    """Yield subtitles that are complete by the time of `packet`, and the packet if it is copied."""
    for index, converter in converters.items():
        if packet.stream.index != index:
            yield from _put(converter.release(_order(packet) - _MAX_LATE), outputs[index])
    own = converters.get(packet.stream.index)
    yield from _put(own.convert(packet) if own else (packet,), outputs[packet.stream.index])


def _put(packets: Iterable[Packet[Any]], stream: Stream) -> Iterator[Packet[Any]]:
    for packet in packets:
        packet.stream = stream
        yield packet


def _is_kept(
    packet: Packet[Any], source: SourceMetadata, keeps_hidden: bool, started: bool
) -> bool:
    """Whether a packet is in the part that the trim keeps."""
    if not source.trimmed:
        return True
    start, length = _order(packet), (packet.duration or 0) * packet.time_base
    if source.until is not None and start >= source.until:
        return False
    if packet.stream.type == "subtitle":
        return start + length > source.offset
    if packet.stream.type == "audio" and keeps_hidden:  # one more, for the decoder's run-in
        return start + 2 * length > source.offset
    return start >= source.offset and (started or packet.is_keyframe)


def _retime(packet: Packet[Any], mapping: TimeMapping) -> None:
    """Set the packet's times to the output's."""
    tick, source = packet.time_base, mapping.source
    start = None if packet.pts is None else packet.pts * tick
    end = None if start is None else start + (packet.duration or 0) * tick
    if packet.stream.type == "subtitle" and start is not None and end is not None:
        if source.trimmed:
            start, end = max(start, source.offset), min(end, source.until or end)
        packet.duration = round(mapping(end) / tick) - round(mapping(start) / tick)
    if packet.dts is not None:
        decoded = start if packet.stream.type == "subtitle" and start else packet.dts * tick
        packet.dts = round(mapping(decoded) / tick)
    if start is not None:
        packet.pts = round(mapping(start) / tick)
