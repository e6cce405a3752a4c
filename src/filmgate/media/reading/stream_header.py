"""Properties of a stream that PyAV does not show, read from a Matroska header written for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from types import MappingProxyType

import av
from av.video.stream import VideoStream

# Elements that hold others: Segment, Tracks, TrackEntry, Video, Colour, BlockAdditionMapping.
_PARENTS = frozenset({0x18538067, 0x1654AE6B, 0xAE, 0xE0, 0x55B0, 0x41E4})
_CROP = MappingProxyType({0x54CC: "left", 0x54DD: "right", 0x54BB: "top", 0x54AA: "bottom"})
_SITING_ACROSS, _SITING_DOWN = 0x55B7, 0x55B8
_SITINGS = MappingProxyType({(1, 1): "topleft", (1, 2): "left", (2, 1): "top", (2, 2): "center"})
_ADDITION = 0x41ED  # content of a BlockAdditionMapping
_DOLBY_KINDS = (b"dvcC", b"dvvC", b"dvwC")
_MIN_RECORD = 5  # bytes of a Dolby Vision record that are read


@dataclass(frozen=True, slots=True)
class DolbyVision:
    """A Dolby Vision configuration: its profile, and what the base layer alone is.

    `compatibility` 0: nothing, its colours are wrong without the metadata; 1: HDR10; 2: SDR;
    4: HLG; 6: HDR10 of a disc.
    """

    profile: int
    compatibility: int


@dataclass(frozen=True, slots=True)
class StreamHeader:
    """What a header says: where chroma samples are, pixels to crop by side, Dolby Vision."""

    siting: str = "unknown"
    crop: tuple[tuple[str, int], ...] = ()
    dolby_vision: DolbyVision | None = None


def read_stream_header(stream: VideoStream) -> StreamHeader:
    """Return the properties of a stream.

    Sources: RFC 9559, 5.1.4.1; Dolby Vision Streams Within the ISO Base Media File Format.
    """
    head = BytesIO()
    # FFmpegError, ValueError: Matroska can't hold the codec. It stores Dolby Vision if not strict.
    with (
        suppress(av.FFmpegError, ValueError),
        av.open(head, "w", format="matroska", container_options={"strict": "-2"}) as out,
    ):
        out.add_stream_from_template(stream)
        out.start_encoding()
    elements = list(_list_elements(head.getvalue()))
    numbers = {kind: int.from_bytes(data, "big") for kind, data in elements if len(data) <= 8}
    siting = (numbers.get(_SITING_ACROSS, 0), numbers.get(_SITING_DOWN, 0))
    records = [
        DolbyVision(int.from_bytes(data[2:4], "big") >> 9, data[4] >> 4)
        for (_, name), (kind, data) in pairwise(elements)
        if kind == _ADDITION and name in _DOLBY_KINDS and len(data) >= _MIN_RECORD
    ]
    return StreamHeader(
        siting=_SITINGS.get(siting, "unknown"),
        crop=tuple((side, numbers[kind]) for kind, side in _CROP.items() if numbers.get(kind)),
        dolby_vision=records[0] if records else None,
    )


def _list_elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the content of the elements of the tracks, in order (RFC 8794)."""
    at = 0
    while at < len(data):
        kind, at = _read_number(data, at, marked=True)
        length, at = _read_number(data, at, marked=False)
        if kind in _PARENTS:
            continue  # its content follows
        yield kind, data[at : at + length]
        at += length


def _read_number(data: bytes, at: int, *, marked: bool) -> tuple[int, int]:
    """Return the number of variable size at `at` and where it ends; `marked`: with its marker."""
    if at >= len(data) or not data[at]:
        return 0, len(data)
    size = 9 - data[at].bit_length()
    number = int.from_bytes(data[at : at + size], "big")
    return number if marked else number & ((1 << 7 * size) - 1), at + size
