"""Less flicker: every picture is blended with the one before, moved to where this one has it."""

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
from filmgate.flow.dis import DisFlow, Field, Gray, shrunk
from filmgate.media.pixels.planes import Plane, Planes

Map = npt.NDArray[np.float32]  # (rows, columns)

_FLOW = DisFlow(cell=1)
_TIE = 2.0**-10  # added before rounding to nearest, as in flow/warp.py
# Which motion to believe: Sundaram et al., ECCV 2010, section 3.2.
_AGREE = (0.01, 0.5)


@dataclass(frozen=True, slots=True)
class Past:
    """What is remembered: the planes that were made steady, of the picture before."""

    planes: tuple[Plane, ...]


@dataclass(frozen=True, slots=True)
class Steady:
    """A stage that evens out what changes from frame to frame and no motion explains.

    At most `share` of a picture is the one before; what differs by `levels` (of 8 bits, around a
    pixel) counts e times less. Motion is found on pictures 1/`cell` as large, on the first plane;
    luma is blended, or R, G and B. Nothing is taken across a cut (extra "cut").
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
        self, state: Past | tuple[()], frames: Sequence[Frame]
    ) -> tuple[Past | tuple[()], list[Frame]]:
        out = []
        for frame in frames:
            image = frame.image
            if not isinstance(image, Planes):
                raise Unsupported(f"steady was given {type(image).__name__}: it wants planes")
            count = 3 if image.pixels.startswith("gbr") else 1
            new = image.arrays[:count]
            if state and not frame.extras.get("cut"):
                new = self.blended(state.planes, new, image.bits)
            out.append(frame.made(image.with_arrays((*new, *image.arrays[count:])),
                                  keep=tuple(frame.extras)))  # fmt: skip
            state = Past(new)
        return state, out

    def finish(self, state: Past | tuple[()]) -> tuple[None, list[Frame]]:
        return None, []

    def blended(
        self, before: tuple[Plane, ...], now: tuple[Plane, ...], bits: int
    ) -> tuple[Plane, ...]:
        """The planes `now`, with as much of those `before` as can be trusted."""
        a, b = (self._seen(planes[0], bits) for planes in (before, now))
        there, back = _FLOW.both(a, b)
        trust, field = _agreeing(there, back), back
        if self.cell > 1:
            trust, field = (_onto(x, now[0].shape, self.cell) for x in (trust, field))
            field = field * np.float32(self.cell)
        return tuple(self._mixed(p, q, field, trust, bits)
                     for p, q in zip(before, now, strict=True))  # fmt: skip

    def _mixed(self, before: Plane, now: Plane, field: Field, trust: Map, bits: int) -> Plane:
        step = np.float32(1 << bits - 8)
        apart: Any = _moved(before.astype(np.float32), field, cv2.INTER_LANCZOS4)
        apart -= now
        around = cv2.blur(np.abs(apart), (5, 5), borderType=cv2.BORDER_REPLICATE)
        apart *= trust * np.exp(around / (-self.levels * step)) * np.float32(self.share)
        apart += now
        apart += np.float32(0.5 + _TIE)
        made: Plane = np.floor(apart).clip(0, (1 << bits) - 1).astype(now.dtype)
        return made

    def _seen(self, plane: Plane, bits: int) -> Gray:
        grey = plane if bits == 8 else (plane >> (bits - 8)).astype(np.uint8)
        return np.asarray(shrunk(grey, self.cell), np.uint8)


def _agreeing(there: Field, back: Field) -> Map:
    """1 where following a motion and then its return leads back, towards 0 where it does not."""
    returned = _moved(there, back, cv2.INTER_LINEAR)
    apart = np.square(back + returned).sum(-1)
    allowed = np.square(back).sum(-1) + np.square(returned).sum(-1)
    allowed = _AGREE[0] * allowed + _AGREE[1]
    return np.asarray(np.exp(-np.square(apart / allowed)), np.float32)


def _onto(values: Any, shape: tuple[int, ...], cell: int) -> Any:
    rows, columns = (n * cell for n in values.shape[:2])
    whole = cv2.resize(values, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return whole[: shape[0], : shape[1]]


def _moved(picture: Any, field: Field, how: int) -> Any:
    nothing: Any = None
    how |= cv2.WARP_RELATIVE_MAP
    return cv2.remap(picture, field, nothing, how, borderMode=cv2.BORDER_REPLICATE)


def samples() -> tuple[Steady, ...]:
    """For trials."""
    return (Steady(), Steady(cell=1))
