"""The size of frames that the first bytes of a file declare, before any library reads them."""

from __future__ import annotations

import re
import struct

from filmgate.media.containers.animated_png import PNG
from filmgate.media.containers.animated_webp import is_webp_animation, read_webp_size

_Y4M = re.compile(rb"YUV4MPEG2(?: [^ \n]*)*? W(\d{1,9})(?: [^ \n]*)*? H(\d{1,9})[ \n]")


def read_declared_size(head: bytes) -> tuple[int, int] | None:
    """Return width and height of a GIF, an animated PNG or WebP, or a y4m; None of others.

    FFmpeg refuses the samples of a large one with "invalid argument", and has allocated some.
    """
    if head.startswith(b"GIF8") and len(head) >= 10:
        width, height = struct.unpack("<HH", head[6:10])
        return width, height
    if head.startswith(PNG) and len(head) >= 24:
        width, height = struct.unpack(">II", head[16:24])
        return width, height
    if is_webp_animation(head):
        return read_webp_size(head)
    match = _Y4M.match(head)
    return (int(match[1]), int(match[2])) if match else None
