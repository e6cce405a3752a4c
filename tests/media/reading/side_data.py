"""Frames with side data: PyAV cannot set it, so it comes from packets of raw video."""

from typing import get_args

import av
import numpy as np
from av.packet import Packet, PacketSideData, PktSideDataT
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

SIZE = (64, 48)
KINDS = get_args(PktSideDataT)


def make_frame(side_data: dict[str, bytes], n: int = 0) -> VideoFrame:
    """Return a grey frame with the side data that packets of these kinds become."""
    decoder = av.CodecContext.create("rawvideo", "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.width, decoder.height, decoder.pix_fmt = *SIZE, "yuv420p"
    packet = Packet(np.full(SIZE[0] * SIZE[1] * 3 // 2, 100 + n, np.uint8).tobytes())
    packet.pts = n
    for kind, data in side_data.items():
        added = PacketSideData(KINDS.index(kind), len(data))  # type: ignore[call-arg]  # its stub
        added.update(data)
        packet.set_sidedata(added)
    (frame,) = decoder.decode(packet)
    return frame
