"""`python -m tests.media.old_video_images`: write the image of docs/old-videos.md.

Each row is a frame before and after: interlaced, film on TV (3:2), pixels of another shape.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np
import numpy.typing as npt

from filmgate.media.pixels.planes import Planes
from filmgate.media.sources import VideoFile
from tests.house.tree import ROOT
from tests.media.old_videos import NTSC, Image, OldVideo, add_video, make_old, pull_down, weave

IMAGE = ROOT / "docs" / "img" / "old_videos.webp"
_SIZE = (192, 144)
_SPEC = OldVideo("ffv1", size=_SIZE, options={})


def draw_scene(number: int) -> Image:
    """Return grey texture, and a word that moves to the right."""
    width, height = _SIZE
    noise = np.random.default_rng(3).normal(0, 1, (height, 640)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 7) * 600 + 120
    image = soft[:, 3 * number : 3 * number + width].clip(0, 255).astype(np.uint8)
    place = (10 + 4 * number % 90, 88)
    cv2.putText(image, "tape", place, cv2.FONT_HERSHEY_DUPLEX, 1.3, 250, 3)
    return image


def read_frame(path: Path, number: int, **settings: object) -> Image:
    """Return the luma of one frame."""
    with VideoFile(path, **settings).open(threads=1) as reader:  # type: ignore[arg-type]
        frames = [frame for chunk, _ in reader.read(None, 8) for frame in chunk]
    planes = frames[number].image
    assert isinstance(planes, Planes)
    return planes.arrays[0].astype(np.uint8)


def make_other_shape(path: Path) -> Path:
    """Write a broadcast whose pixels become wider after half a second."""
    parts = []
    for number, shape in enumerate((Fraction(1), Fraction(4, 3))):
        part = path.with_name(f"{number}.m2v")
        with av.open(str(part), "w") as out:
            options = {"qscale": "2", "bf": "0"}
            spec = replace(_SPEC, codec="mpeg2video", options=options, aspect=shape)
            stream = add_video(out, spec)
            for n in range(12):
                image = draw_scene(n)
                axes = (30 if number else 40, 40)  # squeezed, as such broadcasts are
                cv2.ellipse(image, (96, 72), axes, 0, 0, 360, 255, 3)
                frame = av.VideoFrame.from_ndarray(image, "gray").reformat(format="yuv420p")
                frame.pts, frame.time_base = n, Fraction(1, 25)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    return path


def draw_rows(folder: Path) -> list[tuple[str, Image, Image]]:
    """Return a title, a frame before and one after for each row."""
    scenes = [draw_scene(n) for n in range(40)]
    tape = make_old(_SPEC, folder / "tape.mkv", weave(scenes, "top"))
    film = make_old(replace(_SPEC, rate=NTSC), folder / "film.mkv", pull_down(scenes))
    shape = make_other_shape(folder / "shape.m2v")
    with av.open(str(shape), format="mpegvideo") as container:
        frames = container.decode(video=0)
        stored = [np.asarray(f.reformat(format="gray").to_ndarray(), np.uint8) for f in frames]
    return [
        ("fields", read_frame(tape, 6), read_frame(tape, 12, deinterlace="fields")),
        ("film", read_frame(film, 12), read_frame(film, 10, deinterlace="film")),
        ("shape", stored[-3], read_frame(shape, -3)),
    ]


def compose(rows: list[tuple[str, Image, Image]]) -> npt.NDArray[np.uint8]:
    """Return all rows as one image, twice as large, without smoothing."""
    lines = []
    for _, before, after in rows:
        gap = np.full((before.shape[0], 4), 255, np.uint8)
        lines += [np.hstack([before, gap, after]), np.full((4, 2 * _SIZE[0] + 4), 255, np.uint8)]
    return np.kron(np.vstack(lines[:-1]), np.ones((2, 2), np.uint8)).astype(np.uint8)


if __name__ == "__main__":
    with TemporaryDirectory(prefix="filmgate_images") as place:
        cv2.imwrite(str(IMAGE), compose(draw_rows(Path(place))), [cv2.IMWRITE_WEBP_QUALITY, 70])
