"""Inputs of the recorded jobs, by file name: small, and the same bytes in every run."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import MappingProxyType

from PIL import Image

from tests.models import tiny, tiny_diffvsr
from tests.videos import GOP, VIDEOS, X264, Video, draw_image, make, make_scratched, make_truncated

TICK = Fraction(1, 1000)
LOSSLESS = Video(codec="ffv1", options={}, suffix=".mkv", tick=TICK)
PQ = {"color_range": 1, "colorspace": 9, "color_primaries": 9, "color_trc": 16}
FIELDS = {**X264, "flags": "+ildct", "x264-params": "interlaced=1:tff=1", "g": "6"}

JOB_FILE = """input = "even.mkv"
[output]
path = "out.mkv"
codec = "ffv1"
[[tasks]]
task = "interpolate"
factor = "3/2"
[[tasks]]
task = "upscale"
scale = 2
"""


def use_plain_x264(video: Video) -> Video:
    """Return the video with x264's plain C code: its AVX-512 code is not deterministic."""
    if video.codec != "libx264":
        return video
    params = [video.options.get("x264-params"), "asm=0"]
    return replace(video, options={**video.options, "x264-params": ":".join(filter(None, params))})


def make_repeatable(video: Video) -> Callable[[Path], object]:
    return partial(make, use_plain_x264(video))


def make_images(folder: Path) -> None:
    """Write eight numbered PNG files with colour."""
    folder.mkdir()
    for n in range(8):
        grey = Image.fromarray(draw_image(n, 64, 48))
        turned = grey.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        Image.merge("RGB", (grey, turned, grey.rotate(180))).save(folder / f"{n:03}.png")


def make_job(path: Path) -> None:
    """Write a job file of two tasks, and its input next to it."""
    make(LOSSLESS, path.with_name("even.mkv"))
    path.write_text(JOB_FILE)


SOURCES: Mapping[str, Callable[[Path], object]] = MappingProxyType(
    {
        **{
            f"{name}{VIDEOS[name].suffix}": make_repeatable(VIDEOS[name])
            for name in (
                "b_frames",
                "broadcast",
                "cover_mkv",
                "late_start",
                "odd",
                "open_gop",
                "rich",
                "rich_mp4",
                "sound",
                "turned",
                "two_videos",
                "uneven",
                "uneven_mkv",
                "words",
            )
        },
        "even.mkv": make_repeatable(LOSSLESS),
        "long.mkv": make_repeatable(replace(LOSSLESS, frames=40, sounds=("flac",))),
        "small.mkv": make_repeatable(replace(LOSSLESS, frames=5)),
        "ten_bits.mkv": make_repeatable(replace(LOSSLESS, pixels="yuv420p10le")),
        "alpha.mkv": make_repeatable(replace(LOSSLESS, pixels="yuva420p")),
        "odd_half.mkv": make_repeatable(replace(LOSSLESS, size=(65, 49))),
        "hdr.mkv": make_repeatable(replace(LOSSLESS, pixels="yuv420p10le", colour=PQ)),
        "fields.mp4": make_repeatable(Video(frames=20, options=FIELDS)),
        "moving.gif": make_repeatable(
            Video(suffix=".gif", codec="gif", pixels="gray", options={}, tick=Fraction(1, 100))
        ),
        "cut.mkv": partial(
            make_truncated, use_plain_x264(Video(frames=40, suffix=".mkv", options=GOP)), 0.7
        ),
        "scratched.mp4": partial(make_scratched, use_plain_x264(Video(frames=40, options=GOP))),
        "images": make_images,
        "job.toml": make_job,
        "film.safetensors": lambda path: shutil.copy(tiny.weights("film"), path),
        "image.safetensors": lambda path: shutil.copy(tiny.weights("image"), path),
        "diffvsr": lambda path: shutil.copytree(tiny_diffvsr.folder(), path),
    }
)
