"""Broadcasts and discs whose frames repeat fields, or whose pixels change their shape."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from filmgate.core.frame import Frame
from filmgate.core.snapshot import Cursor
from filmgate.media.pixels.planes import Planes
from filmgate.media.sources import VideoFile
from tests.media.old_videos import CONTAINERS, NTSC, OldVideo, add_video, make_old
from tests.videos import read_number

MPEG = replace(CONTAINERS["disc.m2v"], options={"qscale": "3", "g": "6", "bf": "0"})


def read(path: Path, cursor: Cursor | None = None) -> list[Frame]:
    reader = VideoFile(path).open(threads=1)
    return [frame for frames, _ in reader.read(cursor, 4) for frame in frames]


def repeat_fields(data: bytes) -> bytes:
    """Return MPEG-2 whose frames say that they repeat a field by turns, as a DVD of a film."""
    made, at, count = bytearray(data), 0, 0
    while (at := made.find(b"\0\0\1\xb5", at)) >= 0:
        if made[at + 4] >> 4 == 1:
            made[at + 5] &= ~0x08  # not a progressive sequence
        if made[at + 4] >> 4 == 8:  # which field is first, and whether it is repeated
            made[at + 7] = made[at + 7] & ~0x82 | (0x82, 0x00, 0x02, 0x80)[count % 4]
            count += 1
        at += 4
    return bytes(made)


def test_pixels_of_another_shape_are_reported_where_their_frames_are_unknown(
    tmp_path: Path,
) -> None:
    shapes = (Fraction(12, 11), Fraction(16, 11))
    path = make_broadcast(tmp_path / "a.h264", CONTAINERS["camera.h264"], shapes)
    reports = [frame for frame in read(path) if "the shape of pixels" in str(frame.extras)]
    assert len(reports) == 1
    assert 5 <= reports[0].index <= 9


def test_film_with_repeated_fields_is_even(tmp_path: Path) -> None:
    flat = make_old(replace(MPEG, rate=NTSC, frames=40, size=(64, 64)), tmp_path / "flat.m2v")
    path = tmp_path / "film.m2v"
    path.write_bytes(repeat_fields(flat.read_bytes()))
    frames = read(path)
    assert "24000/1001 frames a second are shown evenly" in str(frames[0].extras["notice"])
    assert [(read_number(f), f.time) for f in frames] == [
        (n, n * Fraction(1001, 24000)) for n in range(40)
    ]


def make_broadcast(path: Path, codec: OldVideo, shapes: tuple[Fraction, ...]) -> Path:
    """Write streams of 8 frames with pixels of these shapes, one behind the other."""
    parts = []
    for n, shape in enumerate(shapes):
        part = path.with_name(f"{n}{path.suffix}")
        with av.open(str(part), "w") as out:
            stream = add_video(out, replace(codec, aspect=shape))
            for number in range(8):
                grey = np.full((codec.size[1], codec.size[0]), 180, np.uint8)
                frame = av.VideoFrame.from_ndarray(grey, "gray").reformat(format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize("name", ["a.m2v", "a.ts"])
@pytest.mark.parametrize("wider", [True, False])
def test_pixels_of_another_shape_get_black_bars(name: str, wider: bool, tmp_path: Path) -> None:
    shapes = (Fraction(16, 15), Fraction(64, 45))
    path = make_broadcast(tmp_path / name, MPEG, shapes if wider else shapes[::-1])
    frames = read(path)
    changes = [f.index for f in frames if "shape of pixels changes" in str(f.extras)]
    assert changes == [8]
    for frame in frames:
        assert isinstance(frame.image, Planes)
        luma = frame.image.arrays[0]
        edges = luma[:3] if wider else luma[:, :3]
        assert (edges.mean() < 40) == (frame.index >= 8), frame.index
        assert luma[20:28, 28:36].mean() > 120
    chunks = list(VideoFile(path).open(threads=1).read(None, 4))
    resumed = read(path, chunks[2][1])
    assert len(resumed) == 4
    assert (resumed[0].image.arrays[0] == frames[12].image.arrays[0]).all()  # type: ignore[attr-defined]
