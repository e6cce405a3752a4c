"""A decoded frame with its time, and the options of decoding."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

# Their packets may hold frames that are only references and never shown, so a missing frame is no
# proof of damage; in streams of MPEG one frame may come as two packets, one for each field.
_HIDES_PACKETS = frozenset(
    {"vp6", "vp6a", "vp6f", "vp8", "mpeg4", "rv30", "rv40", "vc1", "wmv3", "mpegts", "mpeg"}
)


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A frame as it is shown: its pts and duration in ticks (0: unknown), and what to report.

    `original`: the frame was decoded at this pts; False: it repeats an earlier one. `repaired`:
    something was fixed between the start of the video and this frame. `aspect` is that of its
    pixels by the codec, None: unknown.
    """

    frame: VideoFrame
    pts: int
    duration: int = 0
    concealed: str = ""
    notice: str = ""
    original: bool = True
    repaired: bool = False
    captions: bytes = b""
    aspect: Fraction | None = None


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How a video is decoded; messages count time from `first_pts`, the pts of its first frame.

    `keep_going`: damaged frames are replaced. This takes one thread: with several, FFmpeg may
    report an error for another frame than the damaged one. `counted`: the stream has no times, and
    each frame lasts so many seconds. `decode_delay`: the container stores only when frames
    are decoded, and showing is so many frames later; None: it stores when they are shown. Then
    `orphans` frames after the first one refer to frames before the start, and are not shown.
    """

    path: Path
    threads: int
    keep_going: bool
    max_pixels: int
    first_pts: int = 0
    counted: Fraction | None = None
    decode_delay: int | None = None
    orphans: int = 0


def shows_every_packet(container: InputContainer, stream: VideoStream) -> bool:
    """Whether every packet is a frame that is shown."""
    return not _HIDES_PACKETS & {stream.codec_context.name, container.format.name}


def choose_checks(stream: VideoStream) -> str:
    """Return FFmpeg's names of the errors that a decoder reports.

    MPEG-1 and 2 without "bitstream", which calls the padding of a constant bit rate an error; TIFF
    without "explode", with which FFmpeg's decoder refuses images of FFmpeg's encoder.
    """
    name = stream.codec_context.name
    bits = "" if name in ("mpeg1video", "mpeg2video") else "+bitstream"
    return f"crccheck{bits}+buffer" + ("" if name == "tiff" else "+explode")
