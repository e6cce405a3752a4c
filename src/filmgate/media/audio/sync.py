"""Find audio packets by their bytes, to measure sync between two files."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from filmgate.media.containers.open import open_container, translate_errors

_NEAR = Fraction(3)  # seconds; no container interleaves audio further from the video


@dataclass(frozen=True, slots=True)
class AudioPacket:
    """An audio packet: its start on the container's timeline (seconds), and its bytes."""

    time: Fraction
    data: bytes


def find_first_packet(path: Path, index: int) -> AudioPacket | None:
    """Return the first packet of audio stream `index`, None if it has none. Raises BadInput.

    A codec's run-in counts, although an mp4 hides it.
    """
    with (
        open_container(path) as container,
        translate_errors(path, f"reading the start of stream {index}"),
    ):
        for packet in container.demux(container.streams[index]):
            if packet.pts is not None and packet.size and not packet.is_discard:
                return AudioPacket(packet.pts * packet.time_base, bytes(packet))
    return None


def find_packet(path: Path, index: int, data: bytes, near: Fraction) -> Fraction | None:
    """Return the start of the packet with these bytes, the nearest to `near` of several.

    Both in seconds of the container's timeline. None: no packet there equals it.
    """
    times: list[Fraction] = []
    with open_container(path) as container, translate_errors(path, f"reading stream {index}"):
        stream = container.streams[index]
        codec = stream.codec_context
        is_pcm = codec is not None and codec.name.startswith("pcm_")
        if near > 2 * _NEAR:
            container.seek(round((near - _NEAR) / Fraction(1, 1_000_000)))
        for packet in container.demux(stream):
            if packet.pts is None or not packet.size:
                continue
            time = packet.pts * packet.time_base
            if _equals(bytes(packet), data, is_pcm):
                times.append(time)
            if time > near + _NEAR:
                break
    return min(times, key=lambda time: abs(time - near), default=None)


def _equals(old: bytes, new: bytes, is_pcm: bool) -> bool:
    """Whether the bytes are equal; AAC in a ts has a header before them (ADTS, 7 or 9 bytes).

    Containers cut PCM into packets of other lengths: one must start with the other.
    """
    if is_pcm and (old.startswith(new) or new.startswith(old)):
        return True
    return old == new or (len(old) - len(new) in (7, 9) and old.endswith(new))
