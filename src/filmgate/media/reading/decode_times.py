"""Times for frames that have none of their own: those of decoding, or of the frames after them."""

from __future__ import annotations

from fractions import Fraction
from heapq import heappop, heappush
from itertools import accumulate
from pathlib import Path
from typing import Any

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from filmgate.errors import BadInput
from filmgate.media.reading.decoded_frame import DecodeOptions
from filmgate.media.timing.clock_choice import STORE_DTS
from filmgate.media.timing.frame_clock import JUMP

_MOST_UNTIMED = 32  # frames that wait for one with a time; no codec delays one by more


class DecodeTimes:
    """The times that no frame has yet, in ticks.

    The first shown frame has the time of packet number `delay`, the next one that of the next, and
    so on, the earliest first; after the last packet, time continues in equal steps. The times of
    the first packets, `orphans` of them, are those of frames that cannot be shown.
    """

    def __init__(self, delay: int, orphans: int, by_dts: bool) -> None:
        self._by_dts, self._orphans = by_dts, orphans
        self._times: list[tuple[int, int]] = []  # each with the number of jumps back before it
        self._jumps = 0
        self._left_out, self._delay = -orphans, delay
        self._last, self._step = 0, 1

    @classmethod
    def of(cls, options: DecodeOptions, container: InputContainer) -> DecodeTimes | None:
        """Return none for a container that stores when frames are shown."""
        if options.decode_delay is None:
            return None
        return cls(options.decode_delay, options.orphans, container.format.name in STORE_DTS)

    def add(self, packet: Packet[Any]) -> None:
        """Add the time of the next packet."""
        time = packet.dts if self._by_dts else packet.pts
        if time is None:
            time = self._last + self._step * bool(self._times)
        if (time - self._last) * packet.time_base < -JUMP:
            self._jumps += 1
        self._step, self._last = max(1, time - self._last), time
        if self._left_out < self._delay:
            self._left_out += 1
        else:
            heappush(self._times, (self._jumps, time))

    def end(self) -> None:
        """Add times for frames that are shown after the last packet is decoded."""
        for _ in range(self._left_out):
            self._last += self._step
            heappush(self._times, (self._jumps, self._last))
        self._left_out = self._delay = 0

    def fail_orphan(self) -> bool:
        """Record that a frame at the start can't be decoded; return False if all must be."""
        self._orphans -= 1
        return self._orphans >= 0

    def require_all(self) -> None:
        """Record that no frame at the start is left that can't be decoded."""
        self._orphans = 0

    def take(self) -> int | None:
        """Remove and return the first time, None if there is none."""
        return heappop(self._times)[1] if self._times else None

    def list_left(self) -> list[int]:
        """Return the times that are left."""
        return [time for _, time in sorted(self._times)]


class UntimedFrames:
    """Frames at the start of a video to which its container gives no time.

    Matroska has no times before 0, so that a first frame moved there by rounding has none. They
    are shown before the first frame with a time; if 32 have none, from 0 on. `time_base` is that
    of the frames. Not `wanted`: times come from elsewhere.
    """

    def __init__(
        self, path: Path, stream: VideoStream, time_base: Fraction, *, wanted: bool = True
    ) -> None:
        self._path, self._time_base = path, time_base
        rate = stream.average_rate or stream.base_rate or Fraction(25)
        self._duration = max(1, round(1 / rate / time_base))
        self._held: list[VideoFrame] = []
        self._started = not wanted
        self._end: int | None = None  # of the frames counted from 0, until one has a time

    def release(self, frames: list[VideoFrame], end: bool) -> list[VideoFrame]:
        """Return the frames of which the time is known by now. `end`: none follow.

        Raises BadInput if the first time contradicts those counted from 0.
        """
        if self._started:
            self._check_end(frames)
            return frames
        self._held += frames
        untimed = [frame.pts is None for frame in self._held]
        count = untimed.index(False) if False in untimed else len(untimed)
        if count == len(untimed) < _MOST_UNTIMED and not end:
            return []
        self._started = bool(untimed)
        frames, self._held = self._held, []
        starts = [0, *accumulate(frame.duration or self._duration for frame in frames[:count])]
        first = frames[count].pts if count < len(frames) else None
        shift = 0 if first is None else first - starts[count]
        for frame, start in zip(frames[:count], starts, strict=False):
            frame.pts = start + shift
        self._end = starts[count] if first is None else None
        return frames

    def _check_end(self, frames: list[VideoFrame]) -> None:
        for frame in frames:
            if self._end is None:
                return
            if frame.pts is None:
                self._end += frame.duration or self._duration
                continue
            if abs(frame.pts - self._end) > _MOST_UNTIMED // 2 * self._duration:
                found = float(frame.pts * self._time_base)
                raise BadInput(
                    f"{self._path} has no time for its first frames, which take "
                    f"{float(self._end * self._time_base):.3f} s, and {found:.3f} s for the next "
                    f"one, wanted at most {_MOST_UNTIMED} frames without a time before others: "
                    "write it again with times from 0 on"
                )
            self._end = None
