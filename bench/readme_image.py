"""Draw docs/img/results.webp, the image at the top of the README.

A drawn scene pans by 9 pixels a frame. Row one: a frame made by `interpolate --factor 2`, next to
the mean of its neighbours. Row two: a frame made by `upscale --scale 4`, next to Lanczos.
"""

import tempfile
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import filmgate as fg
from filmgate.media.pixels.planes import Planes
from filmgate.media.pixels.rgb import to_rgb

WIDTH, HEIGHT, SCALE, PAN = 384, 216, 4, 9  # pixels of the video; PAN a frame
TILE = (468, 264)  # pixels of each image in the sheet
GAP, LABEL = 6, 26
IMG = Path(__file__).parents[1] / "docs" / "img" / "results.webp"


def draw_scene() -> Image.Image:
    """Return the scene at `SCALE` times the size of the video, wider than one frame."""
    rng = np.random.default_rng(7)
    size = ((WIDTH + 16 * PAN) * SCALE, HEIGHT * SCALE)
    sky = np.linspace(0, 1, size[1])[:, None, None]
    base = (1 - sky) * (70, 120, 180) + sky * (215, 190, 150)
    scene = Image.fromarray(np.broadcast_to(base, (size[1], size[0], 3)).astype(np.uint8))
    draw = ImageDraw.Draw(scene)
    for n in range(26):
        left, width = n * 84, int(rng.integers(50, 90))
        top = int(rng.integers(230, 400))
        wall = tuple(int(c) for c in rng.integers(60, 190, 3))
        draw.rectangle((left, top, left + width, size[1]), fill=wall)
        for y in range(top + 16, size[1], 34):
            for x in range(left + 10, left + width - 12, 22):
                lit = rng.random() < 0.6
                draw.rectangle(
                    (x, y, x + 10, y + 18), fill=(250, 235, 170) if lit else (40, 45, 60)
                )
    font = ImageFont.load_default(76)
    text = "Video of any length"
    draw.text((300, 120), text, "white", font, stroke_width=4, stroke_fill="#203040")
    return scene


def write_video(path: Path, scene: Image.Image, frames: int) -> Path:
    """Write the panning scene as h264, downscaled by area averaging."""
    small = scene.resize((scene.width // SCALE, HEIGHT), Image.Resampling.BOX)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for n in range(frames):
            image = small.crop((PAN * n, 0, PAN * n + WIDTH, HEIGHT))
            frame = av.VideoFrame.from_ndarray(np.asarray(image), "rgb24")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def read_image(task: fg.Interpolate | fg.Upscale, video: Path, index: int) -> Image.Image:
    """Return one frame of the task's result."""
    frame = next(islice(fg.frames(task, video), index, None))
    assert isinstance(frame.image, Planes)
    values = (to_rgb(frame.image, torch.float32, "cpu") * 255).round().to(torch.uint8)
    return Image.fromarray(values.permute(1, 2, 0).numpy())


def draw_row(images: Sequence[Image.Image], labels: Sequence[str]) -> Image.Image:
    """Return images side by side with their labels below, each pixel repeated to fit."""
    row = Image.new("RGB", (len(images) * (TILE[0] + GAP) - GAP, TILE[1] + LABEL), "white")
    draw = ImageDraw.Draw(row)
    for n, (image, label) in enumerate(zip(images, labels, strict=True)):
        left = n * (TILE[0] + GAP)
        row.paste(image.resize(TILE, Image.Resampling.NEAREST), (left, 0))
        at = (left + TILE[0] // 2, TILE[1] + 4)
        draw.text(at, label, "#222222", ImageFont.load_default(16), anchor="ma")
    return row


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        video = write_video(Path(folder) / "in.mp4", draw_scene(), 8)
        before, between, after = (read_image(fg.Interpolate(factor=2), video, n) for n in (6, 7, 8))
        large = read_image(fg.Upscale(scale=SCALE), video, 3)
    part = (40, 18, 196, 106)
    detail = (44, 22, 122, 66)
    mean = Image.blend(before, after, 0.5)
    lanczos = before.resize(large.size, Image.Resampling.LANCZOS)
    left, top, right, bottom = (SCALE * n for n in detail)
    scaled = (left, top, right, bottom)
    rows = [
        draw_row([x.crop(part) for x in (before, mean, between)],
                 ("frame of the source", "mean of two frames", "interpolate --factor 2")),
        draw_row([before.crop(detail), lanczos.crop(scaled), large.crop(scaled)],
                 ("detail of the source", "Lanczos, 4x", "upscale --scale 4")),
    ]  # fmt: skip
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)))
    for n, row in enumerate(rows):
        sheet.paste(row, (0, n * row.height))
    sheet.save(IMG, quality=90)
    print(IMG)


if __name__ == "__main__":
    main()
