"""Small images of parts of a frame, from its planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from filmgate.media.pixels.format_names import get_subsampling
from filmgate.media.pixels.planes import Planes


def cut_thumbnail(image: Planes, box: Sequence[float], size: tuple[int, int]) -> Planes | None:
    """Return what is in a box (left, top, width, height; pixels), at most `size` (width, height).

    Without subsampling and alpha. None if nothing of the box is in the image.
    """
    import cv2
    import numpy as np

    from filmgate.media.pixels.color_tags import choose_matrix

    wide, high = image.size
    low = np.clip(np.floor(box[:2]), 0, (wide, high)).astype(int)
    top = np.clip(np.ceil(np.add(box[:2], box[2:])), 0, (wide, high)).astype(int)
    if (top - low < 2).any():
        return None
    scale = min(1.0, *(np.array(size) / (top - low)))
    small = tuple(max(1, round(float(side) * scale)) for side in top - low)
    across, down = get_subsampling(image.pixels)
    is_yuv, planes = image.pixels.startswith("yuv"), list[Any]()
    for n, plane in enumerate(image.arrays[:3]):
        step = np.array((across, down) if is_yuv and n > 0 else (1, 1))
        (left, above), (right, below) = low // step, -(-top // step)
        part: Any = np.ascontiguousarray(plane[above:below, left:right])
        planes.append(cv2.resize(part, small, interpolation=cv2.INTER_AREA))
    pixels, colour = image.pixels, image.colour
    if is_yuv:  # an unknown matrix depends on the size of the complete image
        pixels = f"yuv444p{pixels.partition('p')[2]}"
        colour = replace(colour, matrix=choose_matrix(colour, wide, high))
    return Planes(tuple(planes), pixels.replace("gbrap", "gbrp"), colour)


def encode_jpeg(image: Planes, quality: int = 80) -> bytes:
    """Return the image as the bytes of a JPEG file. Raises Unsupported as `Planes.to_rgb` does."""
    import cv2

    rgb = (image.to_rgb() * 255).round().byte().permute(1, 2, 0).numpy()
    return cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
