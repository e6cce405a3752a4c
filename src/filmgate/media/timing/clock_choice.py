"""Choose how the frames of a stream are timed: by its timestamps, evenly, or by counting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from math import ceil, floor
from pathlib import Path
from typing import Any

from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from filmgate.errors import BadSetting
from filmgate.media.containers.animated_webp import WEBP, list_webp_times
from filmgate.media.containers.detection import BARE_STREAMS
from filmgate.media.containers.open import open_files
from filmgate.media.options import InputFiles
from filmgate.media.timing.frame_clock import (
    COMMON_RATES,
    FrameClock,
    find_even_rate,
    find_film_rate,
    has_gaps,
    make_even_clock,
)

_RATE_PACKETS = 256  # packets that show whether the rate varies
_DEFAULT_RATE = Fraction(25)  # of bare streams without one
_SEEKS_TO_START = frozenset({"matroska", "avi", "mpegts", "gif", "yuv4mpegpipe", "nut", "apng"})
# Containers that may store only decoding times; others than these two do so in some files.
_DECODE_TIMED = frozenset({"avi", "gxf", "mxf", "asf", "rm"})
_MILLISECOND_CONTAINERS = frozenset({"asf", "flv", "rm", WEBP})


@dataclass(frozen=True, slots=True)
class FirstPackets:
    """The first packets of a stream, which show its rate; `times` are sorted and stored ticks."""

    packets: tuple[Packet[Any], ...]
    times: tuple[int, ...]


def read_first_packets(
    files: InputFiles,
    container: InputContainer,
    stream: VideoStream,
    *,
    decode_times: bool,
) -> FirstPackets:
    """Return the first packets; of an mp4 or mov none, and the times of its index.

    Its index lists every frame, others only keyframes. Rates in headers are often wrong.
    """
    if (all_times := list_webp_times(container)) is not None:
        return FirstPackets((), all_times)
    if "mov" in container.format.name:
        times = [entry.timestamp for entry in stream.index_entries if not entry.is_discard]
        return FirstPackets((), tuple(sorted(times)))
    if container.format.name in _SEEKS_TO_START:
        container.seek(stream.start_time or 0, stream=stream)
        packets = tuple(islice(container.demux(stream), _RATE_PACKETS))
    else:
        packets = _read_from_start(files, stream)
    return FirstPackets(packets, tuple(sorted(_list_times(packets, by_dts=decode_times))))


def stores_decode_times(files: InputFiles, container: InputContainer, stream: VideoStream) -> bool:
    """Whether the container stores only when frames are decoded, not when they are shown.

    Times of H.264 in an asf then grow in the order of decoding, although frames are reordered.
    """
    name, codec = container.format.name, stream.codec_context
    if name not in _DECODE_TIMED or codec.codec.intra_only:
        return False
    if name in ("avi", "gxf"):
        return True
    packets = _read_from_start(files, stream) if codec.has_b_frames else ()
    times = [p.pts for p in packets if p.size and p.pts is not None and p.dts is not None]
    complete = len(times) > 1 and len(times) == sum(p.size > 0 for p in packets)
    if name == "asf" and codec.name == "h264":
        return complete and all(before < after for before, after in pairwise(times))
    return bool(packets) and all(packet.pts == packet.dts for packet in packets)


def _read_from_start(files: InputFiles, stream: VideoStream) -> tuple[Packet[Any], ...]:
    with open_files(files) as container:
        return tuple(islice(container.demux(container.streams[stream.index]), _RATE_PACKETS))


def choose_clock(
    files: InputFiles,
    container: InputContainer,
    stream: VideoStream,
    first: FirstPackets,
    first_pts: int,
) -> tuple[FrameClock, str]:
    """Return the clock of a stream with timestamps, and what to report about it.

    Where the container counts in milliseconds, and where a film repeats fields (3:2), frames are
    shown evenly if all of them fit a rate: then each packet of the video is read.
    """
    tick = stream.time_base or Fraction(1, 1000)
    given = tuple(filter(None, (stream.base_rate, stream.average_rate)))
    rate = Fraction(0)
    notice = _describe_rate(stream) if container.format.name in BARE_STREAMS else ""
    if container.format.name in _MILLISECOND_CONTAINERS:
        rates = (*given, *COMMON_RATES)
        if find_even_rate(first.times, tick, rates):
            times = list_webp_times(container) or _read_all_times(files, stream)
            rate = find_even_rate(times, tick, rates)
    elif not any(is_regular(first.times, tick, rate) for rate in given):
        film = find_film_rate(first.times, tick)
        if film:  # as far as is known
            film = find_film_rate(_read_all_times(files, stream), tick) or Fraction(0)
        rate = film or rate
        repeated = "fields are repeated (3:2, film on TV)"
        if film is not None:
            how = f"its {rate} frames a second are shown evenly" if rate else "frames last unevenly"
            notice = "; ".join(filter(None, (notice, f"{repeated}: {how}")))
    if rate:
        return make_even_clock(tick, first_pts, rate), notice
    return FrameClock(tick, tick, first=first_pts), notice


def choose_counting_clock(
    path: Path, container: InputContainer, stream: VideoStream, given: Fraction | None
) -> tuple[FrameClock, str] | None:
    """Return the clock of a bare stream whose frames are counted, and what to report about it.

    `given` is the user's rate. None: the stream has timestamps. Raises BadSetting.
    """
    name = container.format.name
    if name not in BARE_STREAMS:
        if given is not None:
            raise BadSetting(
                f"in_fps is {given} and {path} has times of its own: omit it, or change the rate "
                "with filmgate interpolate --fps"
            )
        return None
    if stream.codec_context.name == "mpeg2video" and given is None:
        return None  # its fields may be repeated, which FFmpeg follows
    rate = given or stream.codec_context.framerate or _DEFAULT_RATE
    notice = "" if given else _describe_rate(stream)
    return FrameClock(1 / rate, 1 / rate, counted=True), notice


def _describe_rate(stream: VideoStream) -> str:
    """Return what to report about the rate of a bare stream."""
    if own := stream.codec_context.framerate:
        text = f"the bare stream has no times: it says {own} frames a second itself"
    else:
        text = f"the bare stream says no times and no rate: it is read at {_DEFAULT_RATE} fps"
    return f"{text}; pass --in-fps for another rate"


def _read_all_times(files: InputFiles, stream: VideoStream) -> list[int]:
    """Return the stored times of all packets."""
    with open_files(files) as container:
        return list(_list_times(container.demux(container.streams[stream.index]), by_dts=False))


def _list_times(packets: Iterable[Packet[Any]], *, by_dts: bool) -> Iterator[int]:
    stamps = (p.dts if by_dts else p.pts for p in packets if p.size)
    return (stamp for stamp in stamps if stamp is not None)


def find_rate(stream: VideoStream, first: FirstPackets, clock: FrameClock) -> Fraction | None:
    """Return frames per second, None for a variable rate."""
    if clock.counted:
        return 1 / clock.tick
    if clock.rate is not None:
        return None if has_gaps(first.times, clock) else clock.rate
    # of an interlaced video the first one counts fields
    for rate in (stream.base_rate, stream.average_rate):
        if rate and len(first.times) > 1 and is_regular(first.times, clock.tick, rate):
            return rate
    return stream.average_rate if len(first.times) < 2 else None


def is_regular(times: Sequence[int], tick: Fraction, rate: Fraction) -> bool:
    """Whether frames follow each other at this rate, within the precision of the ticks."""
    steps = [b - a for a, b in pairwise(times)]
    length = 1 / (rate * tick)  # ticks of a frame; steps are integers, and there may be many
    least, most = ceil(length - 1), floor(length + 1)
    odd = sum(not least <= step <= most for step in steps)
    drift = abs((times[-1] - times[0]) * tick - (len(times) - 1) / rate)
    return odd <= 1 + len(steps) // 1000 and drift <= 4 / rate  # an edit list leaves an odd step
