"""`python -m tests.models.published`: record what published weights make of real clips."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np

from filmgate.core.frame import Frame, StreamSpec
from filmgate.media.sources import VideoFile
from filmgate.models import registry
from filmgate.models.families.image import ImageOptions
from filmgate.quality.metrics.psnr_ssim import psnr
from tests.models.animevideo import SCALE, find_converted

CLIPS = Path(__file__).parents[3] / "shared" / "clips"
GOLDEN = Path(__file__).parents[1] / "golden" / "published_weights.json"
FRAMES = 8  # of each clip
Values = dict[str, Any]


def read_frames(clip: str) -> tuple[StreamSpec, list[Frame]]:
    """Return the first frames of a clip."""
    with VideoFile(CLIPS / f"{clip}.mp4").open() as video:
        frames = (frame for chunk, _ in video.read(None, 1) for frame in chunk)
        return video.spec, list(islice(frames, FRAMES))


def measure_interpolation(family: str, clip: str) -> Values:
    """Return PSNR of luma of the frame between two, and a few of its values."""
    spec, frames = read_frames(clip)
    first, truth, second = (frame.image for frame in frames[:3])
    between = registry.build_interpolator(family, spec)
    (image,) = between(first, second, [Fraction(1, 2)])
    luma: Any = image.arrays[0]  # type: ignore[attr-defined]
    return _describe_luma(luma, truth.arrays[0])  # type: ignore[attr-defined]


def _describe_luma(luma: Any, wanted: Any) -> Values:
    rows, columns = luma.shape
    places = [(rows * k // 6, columns * k // 6) for k in range(1, 6)]
    return {
        "psnr": round(psnr(luma, wanted), 2),
        "mean": round(float(luma.mean()), 3),
        "values": [int(luma[place]) for place in places],
    }


def measure_upscaling(family: str, clip: str) -> Values:
    """Return the same for a frame that was reduced to a quarter, enlarged by animevideov3."""
    spec, frames = read_frames(clip)
    truth: Any = frames[-1].image
    arrays = [np.ascontiguousarray(plane) for plane in truth.arrays]
    small = truth.with_arrays(tuple(
        cv2.resize(plane, (plane.shape[1] // SCALE, plane.shape[0] // SCALE), interpolation=3)
        for plane in arrays
    ))  # fmt: skip
    width, height = small.size
    upscale: Any = registry.build_upscaler(
        family, replace(spec, width=width, height=height), SCALE,
        ImageOptions(weights=find_converted()),
    )  # fmt: skip
    luma = upscale(small).arrays[0]
    return _describe_luma(luma, arrays[0][: luma.shape[0], : luma.shape[1]])


def measure_people(family: str, clip: str) -> Values:
    """Return how many people a detector finds in the last frame, and score and box of the best."""
    _, frames = read_frames(clip)
    (people,) = registry.build_detector(family).detect([frames[-1].image])  # type: ignore[list-item]
    return {
        "found": len(people),
        "score": round(people[0].score, 3) if people else 0.0,
        "box": [round(float(x), 1) for x in people[0].box] if people else [],
    }


def measure_records(family: str, clip: str) -> Values:
    """Return what is found in the last frame: how many, and of the first the score and places."""
    spec, frames = read_frames(clip)
    stage = registry.build_tracker(family)
    state = stage.start(spec, frames[0].position)
    outputs: list[Frame] = []
    for frame in frames:
        state, made = stage.step(state, [frame])
        outputs += made
    while state is not None:
        state, made = stage.finish(state)
        outputs += made
    records: Any = outputs[-1].extras.get("records", ())
    points = np.array(records[0]["points"])[:, :2] if records else np.zeros((1, 2))
    return {
        "found": len(records),
        "score": round(float(records[0]["score"]), 3) if records else 0.0,
        "box": [round(float(x), 1) for x in records[0]["box"]] if records else [],
        "points": [[round(float(x), 1) for x in point] for point in points[:: len(points) // 8]],
    }


CASES: Mapping[str, tuple[Callable[[str, str], Values], str, str]] = MappingProxyType(
    {
        "rife cockatoo": (measure_interpolation, "rife", "io_cockatoo"),
        "rife bikes": (measure_interpolation, "rife", "sk_bikes"),
        "blazepose phalp": (measure_records, "blazepose", "phalp_vid"),
        "blazepose bedroom": (measure_records, "blazepose", "sam2_bedroom"),
        "face_mesh speaker": (measure_records, "face_mesh", "ls_demo1"),
        "face_mesh driving": (measure_records, "face_mesh", "pl_driving"),
        "animevideov3 bikes": (measure_upscaling, "image", "sk_bikes"),
        "animevideov3 cockatoo": (measure_upscaling, "image", "io_cockatoo"),
        "opencv_hog phalp": (measure_people, "opencv_hog", "phalp_vid"),
        "opencv_hog bedroom": (measure_people, "opencv_hog", "sam2_bedroom"),
    }
)


def measure(name: str) -> Values:
    """Return the values of a case."""
    function, family, clip = CASES[name]
    return function(family, clip)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: measure(name) for name in CASES}, indent=1) + "\n")
    print(GOLDEN.read_text())
