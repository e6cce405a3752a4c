"""Choose how the frames of a stream are timed: by its timestamps, evenly, or by counting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import dropwhile, islice, pairwise, takewhile
from math import ceil, floor
from pathlib import Path
from typing import Any

from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from filmgate.errors import BadSetting
from filmgate.media.containers.animated_webp import WEBP, list_webp_times
from filmgate.media.containers.detection import BARE_STREAMS
from filmgate.media.containers.open import open_files
from filmgate.media.options import InputFiles
from filmgate.media.timing.frame_clock import (
    COMMON_RATES,
    JUMP,
    FrameClock,
    find_even_rate,
    find_film_rate,
    has_gaps,
    make_even_clock,
)

_RATE_PACKETS = 256  # packets that show whether the rate varies
_DEFAULT_RATE = Fraction(25)  # of bare streams without one
_MAX_OWN_RATE = 1000  # of those with one: more is a clock, and not a rate
_SEEKS_TO_START = frozenset({"matroska", "avi", "mpegts", "gif", "yuv4mpegpipe", "nut", "apng"})
# Containers that may store only decoding times; others than these two do so in some files.
_DECODE_TIMED = frozenset({"avi", "gxf", "mxf", "asf", "rm"})
STORE_DTS = frozenset({"avi", "gxf", "asf"})  # of frames, and FFmpeg guesses pts
_ORDER_PACKETS = 64  # that show whether frames have times of their own
_LEAST_REORDERING = 8  # part of the time that reordered frames step back; in fact half and more
_TIMED_BY_FFMPEG = frozenset({"vc1", "wmv3"})  # codecs in an asf
_MAX_DELAY = 32  # frames, of any codec
_MILLISECOND_CONTAINERS = frozenset({"asf", "flv", "rm", WEBP})


@dataclass(frozen=True, slots=True)
class FirstPackets:
    """The first packets of a stream, which show its rate.

    `times` are sorted and stored ticks, `by_dts` those of decoding.
    """

    packets: tuple[Packet[Any], ...]
    times: tuple[int, ...]
    by_dts: bool = False


def read_first_packets(
    files: InputFiles,
    container: InputContainer,
    stream: VideoStream,
    *,
    by_dts: bool,
) -> FirstPackets:
    """Return the first packets; of an mp4 or mov none, and the times of its index.

    Its index lists every frame, others only keyframes. Rates in headers are often wrong. `by_dts`:
    the times are those of decoding.
    """
    if (all_times := list_webp_times(container)) is not None:
        return FirstPackets((), all_times)
    if "mov" in container.format.name:
        times = [entry.timestamp for entry in stream.index_entries if not entry.is_discard]
        return FirstPackets((), tuple(sorted(times)))
    packets: tuple[Packet[Any], ...] = ()
    if container.format.name in _SEEKS_TO_START:
        with suppress(FFmpegError):  # the first keyframe may have no time
            container.seek(stream.start_time or 0, stream=stream)
            packets = _take_packets(container, stream, _RATE_PACKETS)
    packets = packets or _read_from_start(files, stream)
    by_dts = by_dts and container.format.name in STORE_DTS
    return FirstPackets(packets, tuple(sorted(_list_times(packets, by_dts=by_dts))), by_dts)


def find_decode_delay(
    files: InputFiles, container: InputContainer, stream: VideoStream
) -> int | None:
    """Return by how many frames showing is later than decoding, if only the latter has times.

    None: the container stores when frames are shown. An asf stores when each frame is decoded, and
    FFmpeg guesses the rest, for some codecs wrongly; in other containers the first frame is shown
    when the first one is decoded. Programs that know no reordering write such files of every kind.
    """
    name, codec = container.format.name, stream.codec_context
    if codec.codec.intra_only or name in BARE_STREAMS:
        return None
    if name not in _DECODE_TIMED:
        return 0 if codec.has_b_frames and _is_out_of_order(files, stream) else None
    if name in ("avi", "gxf"):
        return 0
    if name == "asf" and codec.name not in _TIMED_BY_FFMPEG:
        times = [p.dts for p in _read_from_start(files, stream) if p.size]
        known = [time for time in times if time is not None]
        grows = all(before < after for before, after in pairwise(known))
        return _count_delay(files, stream) if len(known) == len(times) and grows else None
    packets = _read_from_start(files, stream) if codec.has_b_frames else ()
    times = [p.pts for p in packets if p.size and p.pts is not None and p.dts is not None]
    return 0 if times and all(packet.pts == packet.dts for packet in packets) else None


def _count_delay(files: InputFiles, stream: VideoStream) -> int:
    """Return how many packets a decoder needs before that whose decoding gives a first frame."""
    with open_files(files) as container:
        video = next(s for s in container.streams.video if s.index == stream.index)
        context = video.codec_context
        context.thread_count = 1  # with more, each one delays the first frame
        for count, packet in enumerate(islice(container.demux(video), _MAX_DELAY)):
            with suppress(FFmpegError):
                if context.decode(packet):
                    return count if packet.size else 0
    return 0


def count_orphans(files: InputFiles, stream: VideoStream) -> int:
    """Return how many frames after the first packet give none, in a stream of growing times.

    They refer to frames before the start of the video, which was cut at an open GOP.
    """
    with open_files(files) as container:
        if container.format.name in _DECODE_TIMED:  # times that FFmpeg guesses do not tell frames
            return 0
        video = next(s for s in container.streams.video if s.index == stream.index)
        packets = [p for p in _take_packets(container, video, _ORDER_PACKETS) if p.size]
        packets = packets[: _find_jump(packets)]
        video.codec_context.thread_count = 1
        shown = set()
        for packet in (*packets, None):
            with suppress(FFmpegError):
                shown |= {f.pts for f in video.codec_context.decode(packet) if not f.is_corrupt}
    lost = takewhile(lambda packet: packet.pts not in shown, packets[1:])
    return sum(1 for _ in lost) if packets and packets[0].pts in shown else 0


def _is_out_of_order(files: InputFiles, stream: VideoStream) -> bool:
    """Whether frames are shown in another order than the times say that the container gives them.

    Times of decoding grow from packet to packet, those of showing from frame to frame: those that
    step back less tell which they are, because each may be off by some ticks. Frames are decoded
    only if packets step back a little at most, or two times are equal.
    """
    with open_files(files) as container:
        video = next(s for s in container.streams.video if s.index == stream.index)
        packets = [p for p in _take_packets(container, video, _ORDER_PACKETS) if p.size]
        packets = packets[: _find_jump(packets)]
        timed = list(dropwhile(lambda packet: packet.pts is None, packets))
        times = [p.pts for p in timed if p.pts is not None]
        if len(times) < max(2, len(timed)):
            return False
        steps = [after - before for before, after in pairwise(times)]
        usual = len(steps) * sorted(map(abs, steps))[len(steps) // 4]  # of steps without jumps
        grows = min(steps) > 0 or _LEAST_REORDERING * _sum_steps_back(times) < usual
        if not (grows or len(set(times)) < len(times)):
            return False
        context = video.codec_context
        context.thread_count = 1
        shown: list[int] = []
        for packet in packets[: _ORDER_PACKETS // 4 if grows else None]:
            with suppress(FFmpegError):
                shown += [f.pts for f in context.decode(packet) if f.pts is not None]
    return _sum_steps_back(shown) > _sum_steps_back(times[: len(shown)])


def _sum_steps_back(times: Sequence[int]) -> int:
    """Return by how much times are before the one before, all together."""
    return sum(max(0, before - after) for before, after in pairwise(times))


def _find_jump(packets: Sequence[Packet[Any]]) -> int | None:
    """Return the number of the first packet whose clock starts again; None if there is none.

    All are of one stream.
    """
    jump = int(JUMP / packets[0].time_base) if packets else 0
    for number, (before, after) in enumerate(pairwise(packets), 1):
        if (before.pts or 0) - (after.pts or 0) > jump:
            return number
    return None


def _read_from_start(files: InputFiles, stream: VideoStream) -> tuple[Packet[Any], ...]:
    with open_files(files) as container:
        return _take_packets(container, container.streams[stream.index], _RATE_PACKETS)


def _take_packets(container: InputContainer, stream: Stream, count: int) -> tuple[Packet[Any], ...]:
    """Return the next packets of a stream, up to damage: decoding will report it."""
    packets: list[Packet[Any]] = []
    with suppress(FFmpegError):
        packets.extend(islice(container.demux(stream), count))
    return tuple(packets)


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
            times = list_webp_times(container) or _read_all_times(files, stream, first.by_dts)
            rate = find_even_rate(times, tick, rates)
    elif not any(is_regular(first.times, tick, rate) for rate in given):
        film = find_film_rate(first.times, tick)
        if film:  # as far as is known
            film = find_film_rate(_read_all_times(files, stream, first.by_dts), tick) or Fraction(0)
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
    rate = given or _find_own_rate(stream) or _DEFAULT_RATE
    notice = "" if given else _describe_rate(stream)
    return FrameClock(1 / rate, 1 / rate, counted=True), notice


def _find_own_rate(stream: VideoStream) -> Fraction | None:
    """Return the frames per second that a bare stream says; None if it says none."""
    if stream.codec_context.name in ("h261", "h263"):
        return None  # it says a clock, and leaves out frames
    # MPEG-4 says one too; it has times, of which FFmpeg makes a rate
    has_times = stream.codec_context.name == "mpeg4"
    own = stream.base_rate if has_times else stream.codec_context.framerate
    return own if own and own < _MAX_OWN_RATE else None


def _describe_rate(stream: VideoStream) -> str:
    """Return what to report about the rate of a bare stream."""
    if own := _find_own_rate(stream):
        text = f"the bare stream has no times: it says {own} frames a second itself"
    else:
        text = f"the bare stream says no times and no rate: it is read at {_DEFAULT_RATE} fps"
    return f"{text}; pass --in-fps for another rate"


def _read_all_times(files: InputFiles, stream: VideoStream, by_dts: bool) -> list[int]:
    """Return the stored times of all packets."""
    with open_files(files) as container:
        times: list[int] = []
        with suppress(FFmpegError):
            packets = container.demux(container.streams[stream.index])
            times.extend(_list_times(packets, by_dts=by_dts))
        return times


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
    if not times:
        return True
    steps = [b - a for a, b in pairwise(times)]
    length = 1 / (rate * tick)  # ticks of a frame; steps are integers, and there may be many
    least, most = ceil(length - 1), floor(length + 1)
    odd = sum(not least <= step <= most for step in steps)
    drift = abs((times[-1] - times[0]) * tick - (len(times) - 1) / rate)
    return odd <= 1 + len(steps) // 1000 and drift <= 4 / rate  # an edit list leaves an odd step
