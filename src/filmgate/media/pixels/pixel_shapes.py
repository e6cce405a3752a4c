"""The shape of pixels while a video is decoded, which broadcasts change between programmes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

_EXACT = ("mpeg1video", "mpeg2video")  # decoders that say the shape of the packet just read


class PixelShapes:
    """Finds from which frame on a decoder's pixel aspect holds.

    The decoder says a new one some frames early, and PyAV does not show that of a frame. Other
    decoders than those of MPEG-1 and 2 say it at a time that depends on their threads.
    """

    def __init__(self, decoder: VideoCodecContext) -> None:
        self._decoder, self._exact = decoder, decoder.name in _EXACT
        self._aspect: Fraction | None = None
        self._said: Fraction | None = None
        self._read = self._shown = self._start = 0  # packets, frames, and the packet of a new shape
        self._start_pts: int | None = None

    def note(self, packet: Packet[Any]) -> None:
        """Note what the decoder says after a packet."""
        said = self._decoder.sample_aspect_ratio
        if said is not None and said != self._said:
            self._said, self._start, self._start_pts = said, self._read, packet.pts
        self._read += 1

    def find(self, frame: VideoFrame) -> tuple[Fraction | None, str]:
        """Return the aspect of the next frame that is shown, and what to report about it."""
        count, self._shown = self._shown, self._shown + 1
        before = self._aspect
        if before is None or before == self._said:
            self._aspect = self._said
        elif not self._exact:
            self._aspect = self._said
            return None, (
                f"the shape of pixels changes from {before} to {self._said} about here: the result "
                "keeps the first one, and what follows is distorted"
            )
        elif count >= self._start or (frame.pts is not None and frame.pts == self._start_pts):
            self._aspect = self._said
        return (self._aspect if self._exact else None), ""
