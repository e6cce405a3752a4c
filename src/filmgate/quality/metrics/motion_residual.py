"""From one picture to the next: what moved, and what no motion explains."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.errors import Unsupported
from filmgate.flow.dis import DisFlow, Field
from filmgate.flow.shot_detection import cuts
from filmgate.media.pixels.planes import Planes

Luma = npt.NDArray[np.float32]  # (rows, columns), 8-bit levels

LONGEST = 480  # pixels of the longest side of what is looked at
_FLOW = DisFlow(cell=1)
_CELL = 2  # flow is found on half of that


@dataclass(frozen=True, slots=True)
class Step:
    """One picture against the one before it, both made small. `error`: levels left over by motion.

    `moved` is the flow back to the picture before, in pixels of the small picture's half.
    """

    error: float
    moved: Field


def luma(frame: Frame) -> Luma:
    """The first plane of a frame as it is, in 8-bit levels."""
    if not isinstance(frame.image, Planes):
        raise Unsupported(f"a frame is {type(frame.image).__name__}: planes are wanted")
    return np.asarray(frame.image.arrays[0] / np.float32(1 << frame.image.bits - 8), np.float32)


def small(picture: Luma) -> Luma:
    """The picture with its longest side at most `LONGEST` pixels."""
    scale = LONGEST / max(picture.shape)
    if scale >= 1:
        return picture
    size = [max(1, round(n * scale)) for n in picture.shape[::-1]]
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)


def step(before: Luma, now: Luma) -> Step:
    """What leads from one small picture to the next of the same size."""
    field = flow(before, now)
    return Step(float(np.abs(now - warped(before, field)).mean()), field)


def flow(before: Luma, now: Luma) -> Field:
    """Where each pixel of `now` was in `before`, on a grid of half the size."""
    a, b = (_half(x) for x in (before, now))
    return _FLOW.both(b, a)[0]


def warped(before: Luma, field: Field) -> Luma:
    """The picture before, moved to where the next one has it."""
    rows, columns = before.shape
    scale = np.array([columns / field.shape[1], rows / field.shape[0]], np.float32)
    own = cv2.resize(field, (columns, rows), interpolation=cv2.INTER_LINEAR) * scale
    nothing: Any = None
    how = cv2.INTER_LINEAR | cv2.WARP_RELATIVE_MAP
    moved = cv2.remap(before, own, nothing, how, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def with_cuts(spec: StreamSpec, chunks: Iterable[list[Frame]]) -> Iterator[Frame]:
    """The frames, the first of each shot marked; one or two are held back, no more."""
    finder, state = cuts(), None
    for frames in chunks:
        if state is None:
            state = finder.start(spec, Position(frames[0].index, frames[0].time))
        state, marked = finder.step(state, frames)
        yield from marked
    while state is not None:
        state, marked = finder.finish(state)
        yield from marked


def _half(picture: Luma) -> npt.NDArray[np.uint8]:
    size = [max(1, -(-n // _CELL)) for n in picture.shape[::-1]]
    half = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(half + 0.5, 0, 255), np.uint8)
