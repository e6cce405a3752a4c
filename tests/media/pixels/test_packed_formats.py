"""Pixel formats of capture devices and QuickTime: packed, and stored from the last row on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.video.frame import VideoFrame

from filmgate.core.frame import ColorTags
from filmgate.media.pixels.av_frames import extract_planes, make_av_frame
from filmgate.media.pixels.format_names import get_bit_depth
from filmgate.media.pixels.formats import find_planar_format
from filmgate.media.pixels.planes import Planes
from filmgate.media.sources import VideoFile
from tests.media.awkward import read_frames
from tests.videos import Video, make, read_number

PACKED = ("vyu444", "vuya", "uyva", "ayuv", "v30xle", "xv30le", "xv36le", "xv48le", "ayuv64le",
          "y212le", "y216le", "p212le", "p216le", "p412le", "p416le")  # fmt: skip


@pytest.mark.parametrize("pixels", PACKED)
def test_a_packed_format_is_read_bit_for_bit(pixels: str) -> None:
    planar, random = find_planar_format(pixels), np.random.default_rng(0)
    bits = get_bit_depth(planar)
    shapes = [(plane.height, plane.width) for plane in VideoFrame(16, 8, planar).planes]
    dtype = np.uint8 if bits == 8 else np.uint16
    arrays: list[Any] = [random.integers(0, 1 << bits, shape).astype(dtype) for shape in shapes]
    packed = make_av_frame(Planes(tuple(arrays), planar, ColorTags())).reformat(format=pixels)
    found = extract_planes(packed, planar, ColorTags())
    assert packed.format.name == pixels
    assert all(np.array_equal(a, b) for a, b in zip(found.arrays, arrays, strict=True))


@pytest.mark.parametrize(
    ("codec", "pixels", "suffix"), [("amv", "yuvj420p", ".avi"), ("tiff", "rgb24", ".mov")]
)
def test_videos_of_rare_decoders_are_read(
    codec: str, pixels: str, suffix: str, tmp_path: Path
) -> None:
    """The first turns rows upside down, and the second refuses what its own encoder writes."""
    video = Video(codec=codec, pixels=pixels, suffix=suffix, options={"strict": "-2"})
    path = make(video, tmp_path / f"a{suffix}")
    frames = read_frames(VideoFile(path).open())
    assert [read_number(frame) for frame in frames] == list(range(12))
