"""What a stream and its container say about interlacing."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from av.video.frame import VideoFrame
from av.video.stream import VideoStream

# FFmpeg's field orders, by the field that is shown first.
_FIRST_FIELDS = MappingProxyType({2: "top", 3: "bottom", 4: "bottom", 5: "top"})
# Codecs that say of each frame whether it is interlaced.
_MARKING_CODECS = frozenset(
    {"mpeg2video", "mpeg4", "h264", "hevc", "vc1", "wmv3", "prores", "dvvideo", "cavs"}
)


@dataclass(frozen=True, slots=True)
class Interlacing:
    """Which field is first ("top", "bottom", "unknown"; empty: it is not interlaced).

    `source`: who says so, the "stream", the "container" or the "images". `each`: each frame says
    for itself whether it is interlaced; else all are.
    """

    first: str = ""
    source: str = ""
    each: bool = False

    def __bool__(self) -> bool:
        return bool(self.first)

    def __str__(self) -> str:
        order = "of unknown field order" if self.first == "unknown" else f"{self.first} field first"
        return f"{order}, by its {self.source}"


def read_interlacing(stream: VideoStream, first: VideoFrame) -> Interlacing:
    """Return what the stream says with its first frame, else what the container says."""
    codec = stream.codec_context.name
    order = _FIRST_FIELDS.get(stream.codec_context.field_order, "")
    if codec == "dvvideo" and (order or first.interlaced_frame):
        order = "bottom"  # IEC 61834-2; FFmpeg's header does not say it
    if first.interlaced_frame:
        return Interlacing(order or "unknown", "stream", each=True)
    if not order:
        return Interlacing()
    marks = codec in _MARKING_CODECS
    return Interlacing(order, "stream" if marks else "container", each=marks)
