"""The Xiph protocol: even frames of 4K videos predicted from their odd neighbours.

Niklaus and Liu, CVPR 2020, section 4; FILM's published figures follow it: eight Netflix clips from
xiph.org, their first 100 frames, 49 predictions each. "2K" is the image at half its size, "4K" its
middle half at full size. PSNR (at most 100 dB a frame) and SSIM in 8-bit RGB, means over all
predictions.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import av
import cv2
import numpy as np

from filmgate.core.frame import ColorTags
from filmgate.media.pixels.planes import Planes
from filmgate.quality.metrics.psnr_ssim import psnr, ssim

CLIPS, FRAMES = 8, 100
VIDEOS = (".y4m", ".mp4", ".mkv", ".mov", ".webm")
Ways = dict[str, Callable[[Sequence[Planes]], Iterator[Planes]]]
Rgb = Any  # (H, W, 3) uint8


def find_videos(folder: Path) -> list[Path]:
    """Return the videos in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEOS)


def halve(image: Rgb) -> Rgb:
    height, width = image.shape[:2]
    return cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)


def crop_middle(image: Rgb) -> Rgb:
    height, width = image.shape[:2]
    top, left = height // 4, width // 4
    return image[top : top + height // 2, left : left + width // 2]


CROPS: dict[str, Callable[[Rgb], Rgb]] = {"2K": halve, "4K": crop_middle}


def read_images(video: Path, count: int) -> Iterator[Rgb]:
    with av.open(str(video)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in islice(container.decode(video=0), count):
            yield frame.to_ndarray(format="rgb24")


def measure_xiph(paths: Sequence[Path], ways: Ways) -> dict[str, dict[str, Any]]:
    """Return rows "2K METHOD" and "4K METHOD": PSNR, SSIM, seconds, number of predictions."""
    found: dict[str, list[tuple[float, float, float]]] = {
        f"{crop} {way}": [] for crop in CROPS for way in ways
    }
    for path in paths:
        for crop, change in CROPS.items():
            frames = (np.ascontiguousarray(change(p)) for p in read_images(path, FRAMES))
            for first, truth, third in _iter_triples(frames):
                for way, interpolate in ways.items():
                    began = perf_counter()
                    (result,) = interpolate([first, third])
                    seconds, rgb = perf_counter() - began, _to_rgb(result)
                    found[f"{crop} {way}"].append(
                        (min(100.0, psnr(rgb, truth)), ssim(rgb, truth), seconds)
                    )
    return {
        name: {
            "psnr": mean(row[0] for row in rows),
            "ssim": mean(row[1] for row in rows),
            "seconds": mean(row[2] for row in rows),
            "predictions": len(rows),
        }
        for name, rows in found.items()
    }


def _iter_triples(frames: Iterator[Rgb]) -> Iterator[tuple[Planes, Rgb, Planes]]:
    """Yield frames 1, 2, 3, then 3, 4, 5 ...: the even ones are predicted."""
    first = _to_planes(next(frames))
    for truth in frames:
        after = next(frames, None)
        if after is not None:
            yield first, truth, (third := _to_planes(after))
            first = third


def _to_planes(image: Rgb) -> Planes:
    green, blue, red = (np.ascontiguousarray(image[..., n]) for n in (1, 2, 0))
    return Planes((green, blue, red), "gbrp", ColorTags(matrix="rgb", range="pc"))


def _to_rgb(image: Planes) -> Rgb:
    green, blue, red = image.arrays
    return np.stack([red, green, blue], -1)
