"""Joins segments without encoding again."""

from __future__ import annotations

import hashlib
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


@dataclass(frozen=True, slots=True)
class Segment:
    """A finished segment: its file's name, bytes and sha256, and where its last frame ends."""

    name: str
    size_bytes: int
    sha256: str
    end: int  # in ticks of the result


def joined(folder: Path, pieces: Sequence[Segment], encoder: Encoder) -> Iterator[Packet[Any]]:
    """The packets of all pieces in decoding order, stamped as one encoder would have done it.

    The pieces are whole. Raises FilmgateError if one comes from an encoder with other settings.
    """
    late = max((_late(_times(folder / p.name, encoder)) for p in pieces), default=0)
    free: list[int] = []  # times that no packet was stamped with for decoding
    count = start = 0
    for piece in pieces:
        shown = sorted(_times(folder / piece.name, encoder))
        ends = dict(zip(shown, [*shown[1:], piece.end], strict=True))
        for packet, pts in _packets(folder / piece.name, encoder):
            start = start if count else pts
            heapq.heappush(free, pts)
            lasting = ends[pts] - pts
            before = start - (late - count) * max(1, lasting)
            packet.dts = heapq.heappop(free) if count >= late else before
            packet.pts, packet.duration, packet.time_base = pts, lasting, encoder.tick
            count += 1
            yield packet


def _times(path: Path, encoder: Encoder) -> list[int]:
    """When each picture is shown, in decoding order."""
    return [pts for _, pts in _packets(path, encoder)]


def _late(times: list[int]) -> int:
    """By how many places a picture is shown before those that are decoded before it, at most."""
    ranks = {pts: rank for rank, pts in enumerate(sorted(times))}
    return max((place - ranks[pts] for place, pts in enumerate(times)), default=0)


def _packets(path: Path, encoder: Encoder) -> Iterator[tuple[Packet[Any], int]]:
    """Packets and their pts in ticks, if they come from an encoder like this one."""
    with av.open(os.path.abspath(path), "r", format=path.suffix.removeprefix(".")) as container:
        stream = container.streams.video[0]
        if stream.codec_context.extradata != encoder.stream.codec_context.extradata:
            raise FilmgateError(f"{path} was encoded with other settings: start over")
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None:
                yield packet, encoder.start + round(packet.pts * packet.time_base / encoder.tick)


def check_segment(path: Path, piece: Segment) -> None:
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise FilmgateError(f"{path} is missing") from error
    if digest != piece.sha256:
        raise FilmgateError(
            f"{path} was changed: it has {path.stat().st_size} bytes and another sha256 than the "
            f"{piece.size_bytes} that were written"
        )
