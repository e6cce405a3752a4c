"""Read packets of other streams: on one growing timeline, and past damage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Stream

from filmgate.media.streams.description import describe_stream, is_cover
from filmgate.media.streams.report import CopyReport
from filmgate.media.timing.frame_clock import JUMP

_MAX_ERRORS = 16  # read errors in a row after which reading ends
_MAX_HELD = 400  # packets of a stream that wait for the video's jump
_MAX_UNTIMED = 32  # first packets of a video that wait for a decoding time
_GAP = Fraction(10)  # seconds forward that may be a wrong time instead of a gap
_MAX_GAP = Fraction(3600)  # seconds forward that are a wrong time wherever the video has none
_MAX_DIFFERENCE = 2  # seconds between the jumps of two streams at the same place
_JUMPING = 0x200  # AVFMT_TS_DISCONT: the container's clock may start again
DAMAGE = (av.FFmpegError, ValueError, OverflowError, IndexError)


def get_time(packet: Packet[Any]) -> Fraction | None:
    """Return when a packet is decoded, in seconds; None if it has no time."""
    stamp = packet.pts if packet.dts is None else packet.dts
    return None if stamp is None else stamp * packet.time_base


def read_packets(
    container: InputContainer, streams: Sequence[Stream], video: int, report: CopyReport
) -> Iterator[Packet[Any]]:
    """Yield the packets of `streams`, roughly in order of time.

    Where the clock of a recording starts again, time continues as it does in the video, which has
    index `video`. Reading continues behind damage, which `report` notes.
    """
    clocked = bool(container.format.flags & _JUMPING)
    read = [s for s in container.streams if s in streams or (clocked and s.index == video)]
    for stream in container.streams:
        if stream not in read:
            stream.discard = Discard.all
    packets = _fill_first_times(_demux(container, read, report))
    if "mov" in container.format.name:  # its tables cannot step back
        yield from packets
        return
    wanted = {stream.index for stream in streams}
    for packet in _Timeline(video if clocked else None, report).follow(packets):
        if packet.stream.index in wanted:
            yield packet


def _demux(
    container: InputContainer, streams: Sequence[Stream], report: CopyReport
) -> Iterator[Packet[Any]]:
    """Yield packets with data; after an error, reading is tried again behind it."""
    errors, time = 0, Fraction(0)
    while errors < _MAX_ERRORS:
        try:
            for packet in container.demux(streams):
                if packet.size:
                    errors, time = 0, get_time(packet) or time
                    yield packet
            return
        except DAMAGE:
            errors += 1
            report.skip("other streams", time)


def _fill_first_times(packets: Iterable[Packet[Any]]) -> Iterator[Packet[Any]]:
    """Give the first packets of videos decoding times, which a Matroska does not store.

    FFmpeg finds those of the later ones, and the first ones wait for them.
    """
    waiting: dict[int, list[Packet[Any]]] = {}
    timed: set[int] = set()
    for packet in packets:
        index = packet.stream.index
        if index in timed or packet.stream.type != "video" or is_cover(packet.stream):
            yield packet
            continue
        held = waiting.setdefault(index, [])
        held.append(packet)
        if packet.dts is not None or len(held) == _MAX_UNTIMED:
            timed.add(index)
            yield from _count_back(waiting.pop(index))
    for held in waiting.values():
        yield from held


def _count_back(packets: list[Packet[Any]]) -> list[Packet[Any]]:
    """Give packets decoding times in equal steps before that of the last one, if it has one."""
    last = packets[-1]
    step = next((packet.duration for packet in reversed(packets) if packet.duration), 1)
    for count, packet in enumerate(reversed(packets[:-1]), 1):
        if last.dts is not None:
            packet.dts = last.dts - count * step
    return packets


@dataclass(slots=True)
class _StreamClock:
    """Where a stream is, in seconds: `shift` is added to its times."""

    shift: Fraction
    read: Fraction | None = None  # decoding time of the packet before, as it was read
    last: Fraction | None = None  # the same on the continued timeline
    end: Fraction = Fraction(0)  # of what is shown so far
    held: list[Packet[Any]] = field(default_factory=list)
    far: Packet[Any] | None = None  # a packet behind a gap, until the next one confirms its time


class _Timeline:
    """Continues time after jumps back: of each stream, or by as much as in the `video` if given."""

    def __init__(self, video: int | None, report: CopyReport) -> None:
        self._alone, self._video = video is None, _StreamClock(Fraction(0))
        self._report = report
        self._clocks: dict[int | None, _StreamClock] = {video: self._video}

    def follow(self, packets: Iterable[Packet[Any]]) -> Iterator[Packet[Any]]:
        """Yield the packets with times that continue."""
        for packet in packets:
            clock = self._clocks.setdefault(packet.stream.index, _StreamClock(self._video.shift))
            shift = self._video.shift
            if clock.far is not None:
                yield from self._settle_far(packet, clock)
            step = _measure_step(packet, clock)
            if not clock.held and self._is_far(packet, step):
                clock.far = packet
            elif clock.held or self._is_jump(packet, step):
                clock.held.append(packet)
                if clock is self._video or self._is_decided(clock):
                    yield from self._release(clock)
            else:
                yield self._place(packet, clock)
            if self._video.shift != shift:  # the video has jumped, so others can follow
                for other in self._clocks.values():
                    yield from self._release(other)
        for clock in self._clocks.values():
            yield from self._release(clock)
            if clock.far is not None:
                yield self._place(clock.far, clock)

    def _is_far(self, packet: Packet[Any], step: Fraction) -> bool:
        """Whether a packet is so much later than the one before that its time may be wrong."""
        return step > _GAP and packet.stream.type in ("audio", "video")

    def _settle_far(self, packet: Packet[Any], clock: _StreamClock) -> Iterator[Packet[Any]]:
        """Yield the packet behind a gap; without the gap if `packet` shows that there is none."""
        far, clock.far = clock.far, None
        if far is None:
            return
        time = get_time(packet)
        if time is not None and clock.last is not None:
            if abs(time + clock.shift - clock.last) < _GAP:
                far.pts = far.dts = round((clock.end - clock.shift) / far.time_base)
            elif clock is not self._video and time + clock.shift > clock.last + _MAX_GAP:
                clock.held.append(far)
                return
        yield self._place(far, clock)

    def _is_jump(self, packet: Packet[Any], step: Fraction) -> bool:
        return step < -JUMP and not (self._alone and packet.stream.type not in ("audio", "video"))

    def _is_decided(self, clock: _StreamClock) -> bool:
        """Whether the jump is known: the video has made it, or does not make it."""
        return self._alone or len(clock.held) > _MAX_HELD or self._is_same_jump(clock)

    def _is_same_jump(self, clock: _StreamClock) -> bool:
        """Whether the held packets follow the video's jump."""
        start = get_time(clock.held[0])
        if clock.shift == self._video.shift or start is None:
            return False
        return abs(start + self._video.shift - clock.end) < _MAX_DIFFERENCE

    def _release(self, clock: _StreamClock) -> Iterator[Packet[Any]]:
        """Yield the packets that waited, on the continued timeline."""
        if not clock.held:
            return
        start = get_time(clock.held[0]) or Fraction(0)
        first = clock.held[0]
        if clock is self._video and first.pts is not None:
            start = first.pts * first.time_base
        same = clock is not self._video and self._is_same_jump(clock)
        clock.shift = self._video.shift if same else clock.end - start
        held, clock.held, clock.read = clock.held, [], None
        for packet in held:
            yield self._place(packet, clock)

    def _place(self, packet: Packet[Any], clock: _StreamClock) -> Packet[Any]:
        """Shift a packet's times, and move the clock behind it.

        Audio whose times stand still or step back continues at the end of the packet before. A move
        by a tick is not reported: packets may be shorter than one, as of TrueHD in Matroska.
        """
        time, tick = get_time(packet), packet.time_base
        stuck = time is not None and clock.read is not None and time <= clock.read
        clock.read = time
        if time is not None and stuck and packet.stream.type == "audio":
            if clock.end - time - clock.shift > tick:
                self._report.move(describe_stream(packet.stream), clock.end)
            packet.pts = packet.dts = round(clock.end / tick)
            time = get_time(packet)
        elif clock.shift and (ticks := round(clock.shift / tick)):
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
            time = get_time(packet)
        shown = packet.dts if packet.pts is None else packet.pts
        if time is not None and shown is not None:
            clock.last = time
            clock.end = max(clock.end, (shown + (packet.duration or 0)) * tick)
        return packet


def _measure_step(packet: Packet[Any], clock: _StreamClock) -> Fraction:
    """Return by how many seconds a packet is later than the one before; 0 if that is unknown."""
    time = get_time(packet)
    if time is None or clock.last is None:
        return Fraction(0)
    return time + clock.shift - clock.last
