"""A decoded frame with its time, and the options of decoding."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

JUMP = Fraction(1, 2)  # seconds back that count as a jump: more than any codec's reordering errors

# Their packets may hold frames that are only references and never shown, so a missing frame is no
# proof of damage; in a transport stream one frame may come as two packets, one for each field.
_HIDES_PACKETS = frozenset({"vp8", "mpeg4", "mpegts"})


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A frame as it is shown: its pts and duration in ticks (0: unknown), and what to report.

    `original`: the frame was decoded at this pts; False: it repeats an earlier one. `repaired`:
    something was fixed between the start of the video and this frame.
    """

    frame: VideoFrame
    pts: int
    duration: int = 0
    concealed: str = ""
    notice: str = ""
    original: bool = True
    repaired: bool = False
    captions: bytes = b""


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How a video is decoded; messages count time from `first_pts`, the pts of its first frame.

    `keep_going`: damaged frames are replaced. This takes one thread: with several, FFmpeg may
    report an error for another frame than the damaged one.
    """

    path: Path
    threads: int
    keep_going: bool
    max_pixels: int
    first_pts: int = 0


def has_only_decode_times(container: InputContainer, stream: VideoStream) -> bool:
    """Whether the container stores only when frames are decoded, not when they are shown."""
    return container.format.name == "avi" and not stream.codec_context.codec.intra_only


def shows_every_packet(container: InputContainer, stream: VideoStream) -> bool:
    """Whether every packet is a frame that is shown."""
    return not _HIDES_PACKETS & {stream.codec_context.name, container.format.name}
