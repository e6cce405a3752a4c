"""Timestamps: repeated and backward ones are repaired; whether frames can be sought by them."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from heapq import heappop, heappush
from itertools import islice
from pathlib import Path

from av.container import InputContainer
from av.video.stream import VideoStream

from filmgate.errors import BadInput
from filmgate.media.containers.animated_webp import WEBP
from filmgate.media.containers.detection import BARE_STREAMS
from filmgate.media.containers.open import open_files, translate_errors
from filmgate.media.options import InputFiles
from filmgate.media.reading.decoded_frame import (
    DecodedFrame,
    DecodeOptions,
)
from filmgate.media.timing.frame_clock import JUMP, FrameClock

REORDER_DEPTH = 32  # packets; no codec moves a frame by more
# Containers that FFmpeg seeks too late in, or whose times are others after it has sought: packets
# are read from the start and left out.
READ_FROM_START = frozenset({"mpeg", "gxf", "flv", "asf", "ogg", "rm"})
_UNSEEKABLE = BARE_STREAMS | {"gif", WEBP}


class NearTimes(Exception):
    """Frames are so near that their times may have another order than the frames."""


def repair_timestamps(
    frames: Iterator[DecodedFrame], options: DecodeOptions, tick: Fraction, default_duration: int
) -> Iterator[DecodedFrame]:
    """Yield the frames with growing pts; `tick` in seconds, `default_duration` in ticks.

    A frame that is not later than the one before is moved half a frame behind that one, so the next
    ones catch up. After a jump back of more than half a second, time continues from the end of the
    last frame, and what follows is shifted. Each kind is reported once.
    """
    shift, far = 0, round(JUMP / tick)
    last: DecodedFrame | None = None
    reported: set[str] = set()
    repaired = False
    for decoded in frames:
        pts, notice = decoded.pts + shift, ""
        if last is not None and pts <= last.pts:
            length = decoded.duration or default_duration
            at = f"{float((last.pts - options.first_pts) * tick):.3f} s"
            if last.pts - pts > far:
                shift += last.pts + (last.duration or default_duration) - pts
                notice = (
                    f"after {at} time jumps back by {float((last.pts - pts) * tick):.3f} s: it is "
                    "continued there, as after later jumps, and audio with it"
                )
                pts, kind = decoded.pts + shift, "jump"
            else:
                pts, kind = last.pts + max(1, length // 2), "step"
                notice = f"after {at} a frame comes too early and is moved, as are later ones"
            repaired = True
            notice = "" if kind in reported else notice
            reported.add(kind)
        last = decoded
        if repaired:
            last = replace(decoded, pts=pts, notice=decoded.notice or notice, repaired=True)
        yield last


def map_times(frames: Iterator[DecodedFrame], clock: FrameClock) -> Iterator[DecodedFrame]:
    """Yield the frames with pts and durations in ticks of the clock."""
    if clock.rate is None:
        yield from frames
        return
    for decoded in frames:
        pts, length = clock.to_tick(decoded.pts), decoded.duration * clock.stored_tick * clock.rate
        yield replace(decoded, pts=pts, duration=max(1, round(length)))


def split_times(times: Iterable[int]) -> Generator[int]:
    """Yield times in ticks half as long, and after each one that half-way to the next."""
    held: int | None = None
    length = 1
    for time in times:
        if held is not None:
            length = time - held
            yield from (2 * held, held + time)
        held = time
    if held is not None:
        yield from (2 * held, 2 * held + length)


def has_seekable_times(
    options: DecodeOptions,
    container: InputContainer,
    stream: VideoStream,
    near: int,
    end: Fraction | None = None,
    max_frames: int | None = None,
) -> bool:
    """Whether any frame can be sought by its time, judged by the packets.

    Only those up to `end` (ticks) and the first `max_frames` are read. Reordered frames `near` each
    other, in ticks, may be shown in another order: they are moved by their duration, of which
    FFmpeg makes another guess after it has sought; in a nut it does so for all frames. The index of
    an mp4 can't go back, and stores durations; frames of a gif depend on earlier ones, whatever
    their flags say; bare streams have no index.
    """
    if container.format.name in _UNSEEKABLE or options.decode_delay is not None:
        return False
    if "mov" in container.format.name:
        return True
    depth = 1 if stream.codec_context.codec.intra_only else REORDER_DEPTH
    reorders = depth > 1 and (stream.codec_context.has_b_frames or container.format.name == "nut")
    recent: deque[int] = deque(maxlen=depth)
    try:
        with translate_errors(options.path, "reading its times"):
            packets = (p for p in container.demux(stream) if p.size and not p.is_discard)
            for packet in islice(packets, max_frames and max_frames + REORDER_DEPTH):
                pts, dts = packet.pts, packet.dts
                if pts is None or (dts is not None and pts < dts):
                    return False
                steps_back = depth > 1 and recent and pts < recent[-1]
                if pts in recent or (
                    (reorders or steps_back) and any(abs(pts - other) <= near for other in recent)
                ):
                    return False
                if len(recent) == depth and pts < min(recent):
                    return False
                recent.append(pts)
                if end is not None and len(recent) == depth and min(recent) >= end:
                    break
    except BadInput:
        return False
    return True


def read_packet_times(
    files: InputFiles, index: int, first_pts: int, early: int, near: int
) -> Generator[int]:
    """Yield the pts of the frames of stream `index` in order, from `early` or before, undecoded.

    Raises NearTimes if two of reordered frames are not more than `near` ticks apart: the order may
    be another one.
    """
    with open_files(files) as container:
        stream = next(s for s in container.streams.video if s.index == index)
        if stream.codec_context.codec.intra_only:
            near = 0
        apart = near if stream.codec_context.has_b_frames else 0
        if early > first_pts and container.format.name not in READ_FROM_START:
            with translate_errors(files.path, "seeking in it"):
                container.seek(early, stream=stream)
        times: list[int] = []
        last: int | None = None
        before = first_pts
        with translate_errors(files.path, "reading its times"):
            for packet in container.demux(stream):
                if packet.pts is None or not packet.size or packet.is_discard:
                    continue
                if packet.pts < before:
                    apart = near
                before = packet.pts
                heappush(times, packet.pts)
                if len(times) > REORDER_DEPTH:
                    last = _check_distance(last, heappop(times), apart)
                    if last >= first_pts:
                        yield last
        for pts in sorted(times):
            last = _check_distance(last, pts, apart)
            if pts >= first_pts:
                yield pts


def _check_distance(last: int | None, pts: int, near: int) -> int:
    """Return `pts`. Raises NearTimes."""
    if last is not None and pts - last <= near:
        raise NearTimes
    return pts


def count_packets_before(files: InputFiles, index: int, pts: int) -> int:
    """Return how many packets of stream `index` come before the last keyframe up to `pts`."""
    found = 0
    with (
        open_files(files) as container,
        translate_errors(files.path, "reading its times"),
    ):
        for count, packet in enumerate(container.demux(container.streams[index])):
            if packet.is_keyframe and packet.pts is not None and packet.pts <= pts:
                found = count
            if packet.dts is not None and packet.dts > pts:
                break
    return found


def find_last_time(path: Path, container: InputContainer, stream: VideoStream) -> float:
    """Return the latest time of any packet of a truncated video, in seconds."""
    last = 0.0
    with suppress(BadInput), translate_errors(path, "reading it"):
        for packet in container.demux(stream):
            if packet.pts is not None and packet.size:
                last = max(last, float(packet.pts * packet.time_base))
    return last
