"""A decoded frame with its time, and the options of decoding."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

JUMP = Fraction(1, 2)  # seconds back that are a jump: more than any codec's reordering mistakes

# Their packets may hold pictures that are only kept for reference, so none is known to be lost;
# in a transport stream one picture may come as two packets, a field each.
_INVISIBLE = frozenset({"vp8", "mpeg4", "mpegts"})


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A picture as it is shown: its pts and its length in ticks (0: untold), and what to say of it.

    `good`: it is its own picture and no other one's. `repaired`: from the beginning up to here
    something was put right.
    """

    frame: VideoFrame
    pts: int
    ticks: int = 0
    concealed: str = ""
    noted: str = ""
    good: bool = True
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How a film is decoded; texts count time from `begin`, the pts of its first picture.

    `keep_going`: damaged pictures are replaced. That takes one thread: with more of them, an error
    could be that of another picture.
    """

    path: Path
    threads: int
    keep_going: bool
    max_pixels: int
    begin: int = 0


def counted(container: InputContainer, stream: VideoStream) -> bool:
    """Whether the container tells only when pictures are decoded: shown ones are counted then."""
    return container.format.name == "avi" and not stream.codec_context.codec.intra_only


def tells_all(container: InputContainer, stream: VideoStream) -> bool:
    """Whether every packet is a picture that is shown."""
    return not _INVISIBLE & {stream.codec_context.name, container.format.name}
