"""Join segments without re-encoding."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.packet import Packet

from filmgate.errors import FilmgateError
from filmgate.media.writing.encoder import Encoder
from filmgate.storage.fingerprint import sha256_of


@dataclass(frozen=True, slots=True)
class Segment:
    """A finished segment: name, size and SHA-256 of its file, and where its last frame ends."""

    name: str
    size_bytes: int
    sha256: str
    end: int  # in ticks of the output


def join_segments(
    folder: Path, segments: Sequence[Segment], encoder: Encoder
) -> Iterator[Packet[Any]]:
    """Yield the packets of all segments in decoding order, with times as of a single encoder.

    The segments are intact. Raises FilmgateError if one was encoded with other settings.
    """
    delay = max((_count_delay(_list_times(folder / s.name, encoder)) for s in segments), default=0)
    unused: list[int] = []  # times that no packet has as its decoding time yet
    count = start = 0
    for segment in segments:
        times = sorted(_list_times(folder / segment.name, encoder))
        ends = dict(zip(times, [*times[1:], segment.end], strict=True))
        for packet, pts in _read_packets(folder / segment.name, encoder):
            start = start if count else pts
            heapq.heappush(unused, pts)
            duration = ends[pts] - pts
            before = start - (delay - count) * max(1, duration)
            packet.dts = heapq.heappop(unused) if count >= delay else before
            packet.pts, packet.duration, packet.time_base = pts, duration, encoder.tick
            count += 1
            yield packet


def check_segment(path: Path, segment: Segment) -> None:
    """Raise FilmgateError if the file of a segment is missing or was changed."""
    try:
        sha256 = sha256_of(path)
    except FileNotFoundError as error:
        raise FilmgateError(f"{path} is missing") from error
    if sha256 != segment.sha256:
        raise FilmgateError(
            f"{path} was changed: it has {path.stat().st_size} bytes and another sha256 than the "
            f"{segment.size_bytes} that were written"
        )


def _list_times(path: Path, encoder: Encoder) -> list[int]:
    """Return the presentation times in decoding order."""
    return [pts for _, pts in _read_packets(path, encoder)]


def _count_delay(times: list[int]) -> int:
    """Return by how many places at most a frame is shown before frames decoded before it."""
    ranks = {pts: rank for rank, pts in enumerate(sorted(times))}
    return max((place - ranks[pts] for place, pts in enumerate(times)), default=0)


def _read_packets(path: Path, encoder: Encoder) -> Iterator[tuple[Packet[Any], int]]:
    """Yield packets and their pts in ticks. Raises FilmgateError for another encoder's."""
    with av.open(os.path.abspath(path), "r", format=path.suffix.removeprefix(".")) as container:
        stream = container.streams.video[0]
        if stream.codec_context.extradata != encoder.stream.codec_context.extradata:
            raise FilmgateError(
                f"{path} was encoded with other settings: start over with --restart"
            )
        ticks = (stream.time_base or encoder.tick) / encoder.tick
        scale, unit = ticks.as_integer_ratio()
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None:
                pts, rest = divmod(packet.pts * scale, unit)
                yield packet, encoder.start + (round(packet.pts * ticks) if rest else pts)
