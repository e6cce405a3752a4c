"""The tracks beside the picture on the result's timeline: cut, moved, or stretched with it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Stream

from filmgate.media.audio.tempo import stretched
from filmgate.media.containers.open import translated
from filmgate.media.source_metadata import SourceMetadata
from filmgate.media.streams.selection import is_cover, retell
from filmgate.media.streams.time_mapping import TimeMapping

_SLACK = Fraction(10)  # seconds; no container puts a track's packet further behind the others


def beside(
    source: InputContainer,
    outs: Mapping[int, Stream],
    shift: TimeMapping,
    hides: bool,
    retold: Mapping[int, str],
) -> Iterator[Packet[Any]]:
    """Packets for `outs`, by number of the source's stream, about in the order of their times.

    Sound that is not heard goes along only if the container `hides` it. With another tempo sound
    is encoded anew. Words in `retold` change to that codec. Raises BadInput.
    """
    anew = {n for n, out in outs.items() if shift.slow != 1 and out.type == "audio"}
    copied = {n: out for n, out in outs.items() if n not in anew}
    each = [_copied(source, copied, shift, hides, retold)]
    for number in sorted(anew):
        out = outs[number]
        assert isinstance(out, AudioStream)
        each.append(stretched(shift.origin, number, out, shift.slow))
    return heapq.merge(*each, key=_time)


def _time(packet: Packet[Any]) -> Fraction:
    stamp = packet.pts if packet.dts is None else packet.dts
    return (stamp or 0) * packet.time_base


def _copied(
    source: InputContainer,
    outs: Mapping[int, Stream],
    shift: TimeMapping,
    hides: bool,
    retold: Mapping[int, str],
) -> Iterator[Packet[Any]]:
    path, until = shift.origin.path, shift.origin.until
    streams = [s for s in source.streams if s.index in outs and outs[s.index].type != "attachment"]
    for stream in source.streams:
        if stream not in streams:
            stream.discard = Discard.all
    if not streams or path is None:
        return
    whole = {s.index for s in streams if s.type != "video"}  # pictures lean on those before them
    with translated(path, "copying its tracks"):
        for packet in source.demux(streams):
            stream = packet.stream
            hidden = packet.is_discard and stream.type == "audio" and not hides
            if not packet.size or hidden:
                continue
            if until is not None and not is_cover(stream) and _time(packet) > until + _SLACK:
                return
            if shift.moves and not is_cover(stream):
                if not _stays(packet, shift.origin, hides, stream.index in whole):
                    continue
                whole.add(stream.index)
                _move(packet, shift)
            if codec := retold.get(stream.index):
                told = _retold(packet, codec)
                if told is None:
                    continue
                packet = told
            packet.stream = outs[stream.index]
            yield packet


def _retold(packet: Packet[Any], codec: str) -> Packet[Any] | None:
    text = retell(bytes(packet), packet.stream.codec_context.codec.canonical_name, codec)
    if not text:
        return None
    told: Packet[Any] = Packet(text)
    told.time_base, told.duration = packet.time_base, packet.duration
    told.pts, told.dts = packet.pts, packet.dts
    return told


def _stays(packet: Packet[Any], origin: SourceMetadata, hides: bool, whole: bool) -> bool:
    """Whether a packet lies in what is left of a trimmed film."""
    if not origin.trimmed:
        return True
    start, length = _time(packet), (packet.duration or 0) * packet.time_base
    if origin.until is not None and start >= origin.until:
        return False
    if packet.stream.type == "subtitle":
        return start + length > origin.offset
    if packet.stream.type == "audio" and hides:  # one more, which a decoder needs to run in
        return start + 2 * length > origin.offset
    return start >= origin.offset and (whole or packet.is_keyframe)


def _move(packet: Packet[Any], shift: TimeMapping) -> None:
    tick, origin = packet.time_base, shift.origin
    start = None if packet.pts is None else packet.pts * tick
    end = None if start is None else start + (packet.duration or 0) * tick
    if packet.stream.type == "subtitle" and start is not None and end is not None:
        if origin.trimmed:
            start, end = max(start, origin.offset), min(end, origin.until or end)
        packet.duration = round(shift(end) / tick) - round(shift(start) / tick)
    if packet.dts is not None:
        decoded = start if packet.stream.type == "subtitle" and start else packet.dts * tick
        packet.dts = round(shift(decoded) / tick)
    if start is not None:
        packet.pts = round(shift(start) / tick)
