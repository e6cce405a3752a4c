"""Motion between consecutive frames, and what remains after motion compensation."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.errors import Unsupported
from filmgate.flow.dis import DisFlow, Field
from filmgate.flow.shot_detection import detect_shots
from filmgate.media.pixels.planes import Planes

Luma = npt.NDArray[np.float32]  # (rows, columns), 8-bit levels

MAX_SIDE = 480  # pixels of the longest side of the images that are measured
_FLOW = DisFlow(cell=1)
_CELL = 2  # flow is estimated at this fraction of that size


@dataclass(frozen=True, slots=True)
class MotionStep:
    """A downscaled frame against the one before it.

    `error` is the mean absolute residual after motion compensation, in levels. `flow` leads back
    to the frame before, in pixels at half the size of the downscaled frame.
    """

    error: float
    flow: Field


def get_luma(frame: Frame) -> Luma:
    """Return the first plane of a frame in 8-bit levels. Raises Unsupported without planes."""
    if not isinstance(frame.image, Planes):
        raise Unsupported(f"cannot measure a {type(frame.image).__name__}: pass frames of planes")
    return np.asarray(frame.image.arrays[0] / np.float32(1 << frame.image.bits - 8), np.float32)


def downscale(image: Luma) -> Luma:
    """Return the image with its longest side at most `MAX_SIDE` pixels."""
    scale = MAX_SIDE / max(image.shape)
    if scale >= 1:
        return image
    size = [max(1, round(n * scale)) for n in image.shape[::-1]]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)


def measure_step(before: Luma, after: Luma) -> MotionStep:
    """Return the flow and the residual between two downscaled images of one size."""
    field = estimate_flow(before, after)
    return MotionStep(float(np.abs(after - warp(before, field)).mean()), field)


def estimate_flow(before: Luma, after: Luma) -> Field:
    """Return where each pixel of `after` was in `before`, on a grid of half the size."""
    a, b = (_halve(x) for x in (before, after))
    return _FLOW.estimate(b, a)


def warp(before: Luma, field: Field) -> Luma:
    """Return `before`, moved by `field` to where the next frame shows it."""
    rows, columns = before.shape
    scale = np.array([columns / field.shape[1], rows / field.shape[0]], np.float32)
    full = cv2.resize(field, (columns, rows), interpolation=cv2.INTER_LINEAR) * scale
    no_second_map: Any = None
    mode = cv2.INTER_LINEAR | cv2.WARP_RELATIVE_MAP
    moved = cv2.remap(before, full, no_second_map, mode, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def mark_shots(spec: StreamSpec, chunks: Iterable[list[Frame]]) -> Iterator[Frame]:
    """Yield the frames with the first of each shot marked; at most two are held back."""
    finder, state = detect_shots(), None
    for frames in chunks:
        if state is None:
            state = finder.start(spec, Position(frames[0].index, frames[0].time))
        state, marked = finder.step(state, frames)
        yield from marked
    while state is not None:
        state, marked = finder.finish(state)
        yield from marked


def _halve(image: Luma) -> npt.NDArray[np.uint8]:
    size = [max(1, -(-n // _CELL)) for n in image.shape[::-1]]
    half = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(half + 0.5, 0, 255), np.uint8)
