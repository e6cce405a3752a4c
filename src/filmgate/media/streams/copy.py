"""Copy the other streams' packets to the output, retimed for trimming and tempo."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Stream

from filmgate.core.source_metadata import SourceMetadata
from filmgate.media.audio.tempo import stretch_audio
from filmgate.media.containers.open import translate_errors
from filmgate.media.streams.selection import convert_subtitle, is_cover
from filmgate.media.streams.time_mapping import TimeMapping

_MAX_INTERLEAVE = Fraction(10)  # seconds; no container stores a packet further behind the others


def copy_packets(
    container: InputContainer,
    outputs: Mapping[int, Stream],
    mapping: TimeMapping,
    keeps_hidden: bool,
    subtitle_codecs: Mapping[int, str],
) -> Iterator[Packet[Any]]:
    """Yield packets for `outputs`, by index of the source's stream, roughly in order of time.

    Audio that the source hides is copied only if the output's container `keeps_hidden` packets too.
    At another tempo audio is re-encoded. Subtitles in `subtitle_codecs` are converted. Raises
    BadInput.
    """
    reencoded = {n for n, out in outputs.items() if mapping.time_scale != 1 and out.type == "audio"}
    copied = {n: out for n, out in outputs.items() if n not in reencoded}
    parts = [_copy_streams(container, copied, mapping, keeps_hidden, subtitle_codecs)]
    for index in sorted(reencoded):
        out = outputs[index]
        assert isinstance(out, AudioStream)
        parts.append(stretch_audio(mapping.source, index, out, mapping.time_scale))
    return heapq.merge(*parts, key=_decode_time)


def _decode_time(packet: Packet[Any]) -> Fraction:
    stamp = packet.pts if packet.dts is None else packet.dts
    return (stamp or 0) * packet.time_base


def _copy_streams(
    container: InputContainer,
    outputs: Mapping[int, Stream],
    mapping: TimeMapping,
    keeps_hidden: bool,
    subtitle_codecs: Mapping[int, str],
) -> Iterator[Packet[Any]]:
    path, until = mapping.source.path, mapping.source.until
    streams = [
        s for s in container.streams
        if s.index in outputs and outputs[s.index].type != "attachment"
    ]  # fmt: skip
    for stream in container.streams:
        if stream not in streams:
            stream.discard = Discard.all
    if not streams or path is None:
        return
    # streams whose next packet needs no earlier one: a video starts with a keyframe
    started = {s.index for s in streams if s.type != "video"}
    with translate_errors(path, "copying its other streams"):
        for packet in container.demux(streams):
            stream = packet.stream
            hidden = packet.is_discard and stream.type == "audio" and not keeps_hidden
            if not packet.size or hidden:
                continue
            timed = not is_cover(stream)
            if until is not None and timed and _decode_time(packet) > until + _MAX_INTERLEAVE:
                return
            if mapping.changes_times and timed:
                if not _is_kept(packet, mapping.source, keeps_hidden, stream.index in started):
                    continue
                started.add(stream.index)
                _retime(packet, mapping)
            if codec := subtitle_codecs.get(stream.index):
                converted = _convert_packet(packet, codec)
                if converted is None:
                    continue
                packet = converted
            packet.stream = outputs[stream.index]
            yield packet


def _convert_packet(packet: Packet[Any], codec: str) -> Packet[Any] | None:
    """Return a subtitle packet in another codec, None if it has no text."""
    old = packet.stream.codec_context.codec.canonical_name
    text = convert_subtitle(bytes(packet), old, codec)
    if not text:
        return None
    converted: Packet[Any] = Packet(text)
    converted.time_base, converted.duration = packet.time_base, packet.duration
    converted.pts, converted.dts = packet.pts, packet.dts
    return converted


def _is_kept(
    packet: Packet[Any], source: SourceMetadata, keeps_hidden: bool, started: bool
) -> bool:
    """Whether a packet is in the part that the trim keeps."""
    if not source.trimmed:
        return True
    start, length = _decode_time(packet), (packet.duration or 0) * packet.time_base
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
