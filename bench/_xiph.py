"""The Xiph protocol: even frames of 4K films predicted from their odd neighbours.

Niklaus and Liu, CVPR 2020, section 4; FILM's figures follow it: eight clips of Netflix at xiph.org,
their first 100 frames, 49 predictions each; "2K" is the picture at half its size, "4K" its middle
half at full size. PSNR (at most 100 dB a frame) and SSIM in 8-bit RGB, means over all predictions.
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


def videos(folder: Path) -> list[Path]:
    """The films in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEOS)


def half(picture: Rgb) -> Rgb:
    height, width = picture.shape[:2]
    return cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)


def middle(picture: Rgb) -> Rgb:
    height, width = picture.shape[:2]
    top, left = height // 4, width // 4
    return picture[top : top + height // 2, left : left + width // 2]


CUTS: dict[str, Callable[[Rgb], Rgb]] = {"2K": half, "4K": middle}


def pictures(film: Path, count: int) -> Iterator[Rgb]:
    with av.open(str(film)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in islice(container.decode(video=0), count):
            yield frame.to_ndarray(format="rgb24")


def measured(paths: Sequence[Path], ways: Ways) -> dict[str, dict[str, Any]]:
    """Rows "2K WAY" and "4K WAY": PSNR, SSIM, seconds a prediction, and how many there were."""
    found: dict[str, list[tuple[float, float, float]]] = {
        f"{cut} {way}": [] for cut in CUTS for way in ways
    }
    for path in paths:
        for cut, changed in CUTS.items():
            seen = (np.ascontiguousarray(changed(p)) for p in pictures(path, FRAMES))
            for first, truth, third in _threes(seen):
                for way, draw in ways.items():
                    began = perf_counter()
                    (made,) = draw([first, third])
                    seconds, shown = perf_counter() - began, _rgb(made)
                    found[f"{cut} {way}"].append(
                        (min(100.0, psnr(shown, truth)), ssim(shown, truth), seconds)
                    )
    return {
        name: {
            "psnr": mean(one[0] for one in ones),
            "ssim": mean(one[1] for one in ones),
            "seconds": mean(one[2] for one in ones),
            "predictions": len(ones),
        }
        for name, ones in found.items()
    }


def _threes(seen: Iterator[Rgb]) -> Iterator[tuple[Planes, Rgb, Planes]]:
    """Frames 1, 2, 3, then 3, 4, 5 ...: numbered from 1, so the even ones are predicted."""
    first = _planes(next(seen))
    for truth in seen:
        after = next(seen, None)
        if after is not None:
            yield first, truth, (third := _planes(after))
            first = third


def _planes(picture: Rgb) -> Planes:
    green, blue, red = (np.ascontiguousarray(picture[..., n]) for n in (1, 2, 0))
    return Planes((green, blue, red), "gbrp", ColorTags(matrix="rgb", range="pc"))


def _rgb(picture: Planes) -> Rgb:
    green, blue, red = picture.arrays
    return np.stack([red, green, blue], -1)
