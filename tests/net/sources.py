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
from tests.videos import GOP, VIDEOS, X264, Video, cut_short, make, picture, scratched

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


def repeatable(video: Video) -> Video:
    """The film as x264 makes it in plain C: its AVX-512 code does not repeat itself."""
    if video.codec != "libx264":
        return video
    told = [video.options.get("x264-params"), "asm=0"]
    return replace(video, options={**video.options, "x264-params": ":".join(filter(None, told))})


def made(video: Video) -> Callable[[Path], object]:
    return partial(make, repeatable(video))


def make_images(folder: Path) -> None:
    """Eight numbered PNG files with colour."""
    folder.mkdir()
    for n in range(8):
        grey = Image.fromarray(picture(n, 64, 48))
        turned = grey.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        Image.merge("RGB", (grey, turned, grey.rotate(180))).save(folder / f"{n:03}.png")


def make_job(path: Path) -> None:
    """A job file of two tasks, and its input beside it."""
    make(LOSSLESS, path.with_name("even.mkv"))
    path.write_text(JOB_FILE)


SOURCES: Mapping[str, Callable[[Path], object]] = MappingProxyType(
    {
        **{
            f"{name}{VIDEOS[name].suffix}": made(VIDEOS[name])
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
        "even.mkv": made(LOSSLESS),
        "long.mkv": made(replace(LOSSLESS, frames=40, sounds=("flac",))),
        "small.mkv": made(replace(LOSSLESS, frames=5)),
        "ten_bits.mkv": made(replace(LOSSLESS, pixels="yuv420p10le")),
        "alpha.mkv": made(replace(LOSSLESS, pixels="yuva420p")),
        "odd_half.mkv": made(replace(LOSSLESS, size=(65, 49))),
        "hdr.mkv": made(replace(LOSSLESS, pixels="yuv420p10le", colour=PQ)),
        "fields.mp4": made(Video(frames=20, options=FIELDS)),
        "moving.gif": made(
            Video(suffix=".gif", codec="gif", pixels="gray", options={}, tick=Fraction(1, 100))
        ),
        "cut.mkv": partial(
            cut_short, repeatable(Video(frames=40, suffix=".mkv", options=GOP)), 0.7
        ),
        "scratched.mp4": partial(scratched, repeatable(Video(frames=40, options=GOP))),
        "images": make_images,
        "job.toml": make_job,
        "film.safetensors": lambda path: shutil.copy(tiny.weights("film"), path),
        "image.safetensors": lambda path: shutil.copy(tiny.weights("image"), path),
        "diffvsr": lambda path: shutil.copytree(tiny_diffvsr.folder(), path),
    }
)
