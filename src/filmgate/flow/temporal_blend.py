"""Reduce flicker: blend each image with the previous one, motion-compensated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.stage import Reach
from filmgate.errors import Unsupported
from filmgate.flow.dis import DisFlow, Field, Gray, downsample
from filmgate.media.pixels.planes import Plane, Planes

Map = npt.NDArray[np.float32]  # (rows, columns)

_FLOW = DisFlow(cell=1)
_TIE = 2.0**-10  # added before rounding to nearest, as in flow/warp_numpy.py
# Forward-backward consistency: Sundaram et al., ECCV 2010, section 3.2.
_TOLERANCE = (0.01, 0.5)


@dataclass(frozen=True, slots=True)
class PastFrame:
    """The blended planes of the previous image."""

    planes: tuple[Plane, ...]


@dataclass(frozen=True, slots=True)
class Steady:
    """A stage that smooths changes between frames that motion does not explain.

    At most `share` of an image comes from the previous one; a difference of `levels` (8-bit, around
    a pixel) reduces it e times. Flow is estimated at 1/`cell` of the size, on the first plane; luma
    is blended, or R, G and B. Nothing is blended across shot boundaries (extra "cut").
    """

    cell: int = 2
    share: float = 0.5
    levels: float = 1.5
    name: str = "steady"

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(past=None)

    def output(self, spec: StreamSpec) -> StreamSpec:
        return spec

    def start(self, spec: StreamSpec, first: Position) -> tuple[()]:
        return ()

    def step(
        self, state: PastFrame | tuple[()], frames: Sequence[Frame]
    ) -> tuple[PastFrame | tuple[()], list[Frame]]:
        out = []
        for frame in frames:
            image = frame.image
            if not isinstance(image, Planes):
                raise Unsupported(f"steady cannot take {type(image).__name__}: pass planes")
            count = 3 if image.pixels.startswith("gbr") else 1
            new = image.arrays[:count]
            if state and not frame.extras.get("cut"):
                new = self.blend(state.planes, new, image.bits)
            out.append(frame.with_image(image.with_arrays((*new, *image.arrays[count:])),
                                  keep=tuple(frame.extras)))  # fmt: skip
            state = PastFrame(new)
        return state, out

    def finish(self, state: PastFrame | tuple[()]) -> tuple[None, list[Frame]]:
        return None, []

    def blend(
        self, before: tuple[Plane, ...], now: tuple[Plane, ...], bits: int
    ) -> tuple[Plane, ...]:
        """Return the planes `now`, blended with those `before` where the motion is consistent."""
        a, b = (self._reduce(planes[0], bits) for planes in (before, now))
        there, back = _FLOW.estimate_both(a, b)
        trust, field = _measure_trust(there, back), back
        if self.cell > 1:
            trust, field = (_resize(x, now[0].shape, self.cell) for x in (trust, field))
            field = field * np.float32(self.cell)
        return tuple(self._mix(p, q, field, trust, bits)
                     for p, q in zip(before, now, strict=True))  # fmt: skip

    def _mix(self, before: Plane, now: Plane, field: Field, trust: Map, bits: int) -> Plane:
        step = np.float32(1 << bits - 8)
        difference: Any = _warp(before.astype(np.float32), field, cv2.INTER_LANCZOS4)
        difference -= now
        around = cv2.blur(np.abs(difference), (5, 5), borderType=cv2.BORDER_REPLICATE)
        difference *= trust * np.exp(around / (-self.levels * step)) * np.float32(self.share)
        difference += now
        difference += np.float32(0.5 + _TIE)
        blended: Plane = np.floor(difference).clip(0, (1 << bits) - 1).astype(now.dtype)
        return blended

    def _reduce(self, plane: Plane, bits: int) -> Gray:
        grey = plane if bits == 8 else (plane >> (bits - 8)).astype(np.uint8)
        return np.asarray(downsample(grey, self.cell), np.uint8)


def _measure_trust(there: Field, back: Field) -> Map:
    """Return 1 where flow and reverse flow cancel, towards 0 where they do not."""
    returned = _warp(there, back, cv2.INTER_LINEAR)
    difference = np.square(back + returned).sum(-1)
    allowed = np.square(back).sum(-1) + np.square(returned).sum(-1)
    allowed = _TOLERANCE[0] * allowed + _TOLERANCE[1]
    return np.asarray(np.exp(-np.square(difference / allowed)), np.float32)


def _resize(values: Any, shape: tuple[int, ...], cell: int) -> Any:
    rows, columns = (n * cell for n in values.shape[:2])
    resized = cv2.resize(values, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return resized[: shape[0], : shape[1]]


def _warp(image: Any, field: Field, how: int) -> Any:
    nothing: Any = None
    how |= cv2.WARP_RELATIVE_MAP
    return cv2.remap(image, field, nothing, how, borderMode=cv2.BORDER_REPLICATE)


def samples() -> tuple[Steady, ...]:
    """Return one of each kind, for tests."""
    return (Steady(), Steady(cell=1))
