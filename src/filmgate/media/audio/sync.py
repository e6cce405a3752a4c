"""How far a sound lies from where it lay: the same packet, found in both films by its bytes."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from filmgate.media.containers.open import opened, translated

_NEAR = Fraction(3)  # seconds; no container interleaves sound further from the picture


@dataclass(frozen=True, slots=True)
class Heard:
    """A packet of sound: when it begins on its container's timeline (seconds), and its bytes."""

    time: Fraction
    data: bytes


def first_heard(path: Path, track: int) -> Heard | None:
    """The first packet of sound track number `track`; None if there is none. Raises BadInput.

    A codec's run-in counts, although an mp4 hides it.
    """
    with opened(path) as container, translated(path, f"reading the beginning of track {track}"):
        for packet in container.demux(container.streams[track]):
            if packet.pts is not None and packet.size and not packet.is_discard:
                return Heard(packet.pts * packet.time_base, bytes(packet))
    return None


def heard_again(path: Path, track: int, data: bytes, near: Fraction) -> Fraction | None:
    """When the packet with these bytes begins; of several alike the one nearest to `near`.

    Both in seconds of the container's timeline. None: no packet there is like it.
    """
    found: list[Fraction] = []
    with opened(path) as container, translated(path, f"reading track {track}"):
        stream = container.streams[track]
        if near > 2 * _NEAR:
            container.seek(round((near - _NEAR) / Fraction(1, 1_000_000)))
        for packet in container.demux(stream):
            if packet.pts is None or not packet.size:
                continue
            time = packet.pts * packet.time_base
            if _same(bytes(packet), data):
                found.append(time)
            if time > near + _NEAR:
                break
    return min(found, key=lambda time: abs(time - near), default=None)


def _same(old: bytes, new: bytes) -> bool:
    """Whether the bytes are the same; AAC in a ts has a header (ADTS, 7 or 9 bytes) besides."""
    return old == new or (len(old) - len(new) in (7, 9) and old.endswith(new))
