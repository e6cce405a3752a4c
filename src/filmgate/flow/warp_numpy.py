"""Pictures between two pictures: where each pixel comes from in both, and how far to trust it.

Each flow, followed to the moment in between, says for every pixel there where it was and where it
will be. Three such guesses (from `a`, from `b`, and both smoothed, which carries motion into what
gets covered) are drawn and mixed by how well their two ends agree; averaging guesses costs less
than choosing wrongly. Where nothing moves, or no guess explains more than standing still does,
the pictures are cross-faded. No side is preferred: (b, a, 1 - t) gives the picture of (a, b, t).
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from filmgate.flow.dis import DisFlow, Field, padded, shrunk

Plane = npt.NDArray[Any]  # (rows, columns), uint8 or uint16
Map = npt.NDArray[np.float32]  # (rows, columns) on the flow's grid

# Levels are of 8 bits; cells are those of the flow's grid. Found on the first frames of the films
# of bench/interpolate_quality.py.
_SETTLED = 0.6  # pixels: shorter motion is drawn as none, for it is mostly noise
_NEAR = 5  # cells over which disagreement is averaged to weigh guesses
_WIDE = 17  # ... and to compare moving with standing still
_SMOOTH = 31  # cells over which the third guess is smoothed
_LENIENT = 20.0  # levels of disagreement that make a guess count e times less
_STILL = (0.8, 2.0, 2.0)  # share of the cross-fade's disagreement, levels more, softness
_SAME = (9, 1.0)  # cells over which pictures that differ by so many levels stand still
_LINEAR, _CUBIC = cv2.INTER_LINEAR, cv2.INTER_CUBIC
_TIE = 2.0**-10  # added before rounding to nearest


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures, plane by plane, and how they move into each other."""

    a: tuple[Plane, ...]
    b: tuple[Plane, ...]
    bits: int
    cell: int
    small: tuple[Map, Map]
    flow: tuple[Field, Field]

    @classmethod
    def of(cls, a: tuple[Plane, ...], b: tuple[Plane, ...], bits: int, flow: DisFlow) -> "Pair":
        """Finds the flow on the first plane, seen in 8 bits."""
        grey = [shrunk((x[0] >> (bits - 8)).astype(np.uint8), flow.cell) for x in (a, b)]
        small = grey[0].astype(np.float32), grey[1].astype(np.float32)
        ab, ba = (_settled(field, flow.cell) for field in flow.both(grey[0], grey[1]))
        return cls(a, b, bits, flow.cell, small, (ab, ba))

    def at(self, t: float) -> tuple[Plane, ...]:
        """The planes of the picture at `t` (0 to 1) of the way."""
        guesses, still = self._guesses(t)
        return tuple(
            self._drawn(p, q, guesses, still, t) for p, q in zip(self.a, self.b, strict=True)
        )

    def _guesses(self, t: float) -> tuple[list[tuple[Field, Map]], Map]:
        """Fields with their weights, and the weight of standing still; all add up to 1."""
        ab, ba = self.flow
        # One step back along the flow; more steps change held-out frames by less than 0.01 dB.
        forward = _moved(ab, ab * -t, _LINEAR)
        backward = _moved(ba, ba * (t - 1), _LINEAR)
        smooth = _mean((forward - backward) / 2, _SMOOTH)
        fields = [forward, -backward, smooth]
        a, b = self.small
        apart = [
            cv2.absdiff(_moved(a, field * -t, _LINEAR), _moved(b, field * (1 - t), _LINEAR))
            for field in fields
        ]
        unmoved = cv2.absdiff(a, b)
        moving = np.minimum(_mean(apart[0], _WIDE), _mean(apart[1], _WIDE))
        share, more, softness = _STILL
        excess = (moving - share * _mean(unmoved, _WIDE) - more) / softness
        same = _mean(np.float32(_mean(unmoved, _SAME[0]) <= _SAME[1]), _NEAR)
        still = np.maximum(same, 1 / (1 + np.exp(-np.clip(excess, -30, 30))))
        weights = [np.exp(-_mean(one, _NEAR) / _LENIENT) for one in apart]
        scale = (1 - still) / (weights[0] + weights[1] + weights[2])
        pairs = zip(fields, weights, strict=True)
        return [(field, weight * scale) for field, weight in pairs], still

    def _drawn(
        self, p: Plane, q: Plane, guesses: list[tuple[Field, Map]], still: Map, t: float
    ) -> Plane:
        steps = [_step(n, m) for n, m in zip(self.a[0].shape, p.shape, strict=True)]
        down, across = (self.cell / step for step in steps)
        drawn: Any = cv2.addWeighted(p, 1 - t, q, t, 0, dtype=cv2.CV_32F)
        drawn *= self._onto(still, p, steps)
        for field, weight in guesses:
            ends = []
            for picture, share in ((p, -t), (q, 1 - t)):
                scale: Any = (across * share, down * share, 0, 0)
                own = self._onto(cv2.multiply(field, scale), p, steps)
                ends.append(_moved(picture, own, _CUBIC))
            mixed = cv2.addWeighted(ends[0], 1 - t, ends[1], t, 0, dtype=cv2.CV_32F)
            cv2.accumulateProduct(mixed, self._onto(weight, p, steps), drawn)
        # Ties go up, as where codecs average: to even, still films come out 1.5 dB worse.
        depth = cv2.CV_8U if p.dtype == np.uint8 else cv2.CV_16U
        tie: Any = _TIE
        rounded: Any = cv2.add(drawn, tie, dtype=depth)
        return np.asarray(np.minimum(rounded, (1 << self.bits) - 1), p.dtype)

    def _onto(self, values: Any, plane: Plane, steps: list[int]) -> Any:
        """Values of the flow's grid at a plane's samples; their outer edges are the same."""
        rows, columns = plane.shape
        cells = [-(-n * step // self.cell) for n, step in zip(plane.shape, steps, strict=True)]
        size = [n * self.cell // step for n, step in zip(cells, steps, strict=True)]
        whole = padded(values, cells[0], cells[1])
        return cv2.resize(whole, size[::-1], interpolation=cv2.INTER_LINEAR)[:rows, :columns]


def _step(whole: int, part: int) -> int:
    """How many samples of the first plane one sample of another stands for."""
    return next(step for step in (1, 2, 4) if -(-whole // step) == part)


def _settled(field: Field, cell: int) -> Field:
    squared = np.square(field).sum(-1) * (cell / _SETTLED) ** 2
    share: Field = np.square(squared) / (np.square(squared) + 1)
    return field * share[..., None]


def _moved(picture: Any, field: Field, how: int) -> Any:
    """Each pixel from where the field points to; the picture's edges go on outside."""
    nothing: Any = None
    how |= cv2.WARP_RELATIVE_MAP
    return cv2.remap(picture, field, nothing, how, borderMode=cv2.BORDER_REPLICATE)


def _mean(values: Any, cells: int) -> Any:
    return cv2.blur(values, (cells, cells), borderType=cv2.BORDER_REPLICATE)
