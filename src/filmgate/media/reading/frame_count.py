"""How many frames a video has: exactly by an index, else by hints, none of which is believed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from filmgate.media.containers.animated_webp import list_webp_times

_LISTED = ("mov", "avi")  # containers whose index lists every frame, not only keyframes
_LEAST_BYTES = 8  # that a frame takes in any container
_AGREE, _AGREE_VARIABLE = 2, 20  # factors between a count and duration x rate
_SMALLER, _SMALLEST = 4, 8  # by which factors later packets may be smaller than the first ones
# of Matroska: "00:00:01.500000000"
_DURATION = re.compile(r"(\d{1,6}):(\d{1,2}):(\d{1,2}(?:\.\d{1,12})?)")


def count_frames(
    container: InputContainer, stream: VideoStream, packets: Sequence[Packet[Any]]
) -> int | None:
    """Return the number of frames, None if nothing tells it; `packets` are the first ones.

    Tags and header fields may be those of a longer video from which this one was cut: where they
    contradict each other or the size of the file, the smallest number that is plausible counts.
    """
    if times := list_webp_times(container):
        return len(times)
    hint = stream.frames or _read_number(stream.metadata.get("NUMBER_OF_FRAMES", ""))
    if any(name in container.format.name for name in _LISTED):
        listed = sum(not entry.is_discard for entry in stream.index_entries)
        if "mov" in container.format.name:
            return listed or hint
        hint = min(filter(None, (listed, hint)), default=None)
    if not hint:
        return None
    sizes = [packet.size for packet in packets if packet.size]
    fitting = container.size * len(sizes) // sum(sizes) if sizes else container.size
    rate = stream.average_rate
    length = min(_list_lengths(container, stream), default=None)
    timed = None if rate is None or length is None else round(length * rate)
    agree = _AGREE if rate == stream.base_rate else _AGREE_VARIABLE
    if timed is None or not timed / agree - 50 <= hint <= timed * agree + 50:
        hint = min(hint, timed or hint, _SMALLER * fitting)
    return max(1, min(hint, _SMALLEST * fitting, container.size // _LEAST_BYTES))


def read_duration_tag(stream: VideoStream) -> Fraction | None:
    """Return the seconds of a Matroska stream's DURATION tag, None if there is no valid one."""
    match = _DURATION.fullmatch(stream.metadata.get("DURATION", "").strip())
    if match is None:
        return None
    return Fraction(match[1]) * 3600 + Fraction(match[2]) * 60 + Fraction(match[3])


def _list_lengths(container: InputContainer, stream: VideoStream) -> list[Fraction]:
    """Return how long the video is by each header and tag that says it, in seconds."""
    lengths = [Fraction(container.duration or 0, 1_000_000), read_duration_tag(stream)]
    if stream.duration and stream.time_base:
        lengths.append(stream.duration * stream.time_base)
    return [length for length in lengths if length and length > 0]


def _read_number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text.strip()) else None
