"""Images between two images: warp both along their flow and mix them by consistency.

Each flow, followed to the time in between, gives for every pixel its position in both images. Three
such estimates (from `a`, from `b`, and both smoothed, which carries motion into covered areas) are
warped and averaged, weighted by how well their two ends agree. Where nothing moves, or no estimate
is better than no motion, the images are cross-faded. It is symmetric: (b, a, 1 - t) gives the image
of (a, b, t).
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from filmgate.flow.dis import DisFlow, Field, downsample, pad_edges

Plane = npt.NDArray[Any]  # (rows, columns), uint8 or uint16
Map = npt.NDArray[np.float32]  # (rows, columns) on the flow's grid

# Levels are 8-bit; cells are those of the flow's grid. Tuned on the first frames of the videos of
# bench/interpolate_quality.py.
_MIN_MOTION = 0.6  # pixels: shorter motion is mostly noise and suppressed
_NEAR = 5  # cells over which disagreement is averaged to weight estimates
_WIDE = 17  # ... and to compare motion with no motion
_SMOOTH = 31  # cells over which the third estimate is smoothed
_LENIENT = 20.0  # levels of disagreement that reduce a weight e times
_STILL = (0.8, 2.0, 2.0)  # share of the cross-fade's disagreement, offset in levels, softness
_SAME = (9, 1.0)  # cells, and levels of difference up to which nothing moves
_LINEAR, _CUBIC = cv2.INTER_LINEAR, cv2.INTER_CUBIC
_TIE = 2.0**-10  # added before rounding to nearest


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images, plane by plane, and the flow between them."""

    a: tuple[Plane, ...]
    b: tuple[Plane, ...]
    bits: int
    cell: int
    small: tuple[Map, Map]
    flow: tuple[Field, Field]

    @classmethod
    def of(cls, a: tuple[Plane, ...], b: tuple[Plane, ...], bits: int, flow: DisFlow) -> "Pair":
        """Return the pair with the flow of its first plane, reduced to 8 bits."""
        grey = [downsample((x[0] >> (bits - 8)).astype(np.uint8), flow.cell) for x in (a, b)]
        small = grey[0].astype(np.float32), grey[1].astype(np.float32)
        ab, ba = (
            _suppress_noise(field, flow.cell) for field in flow.estimate_both(grey[0], grey[1])
        )
        return cls(a, b, bits, flow.cell, small, (ab, ba))

    def interpolate(self, t: float) -> tuple[Plane, ...]:
        """Return the planes of the image at `t` (0 to 1) of the way."""
        estimates, static = self._weight_estimates(t)
        return tuple(
            self._render(p, q, estimates, static, t) for p, q in zip(self.a, self.b, strict=True)
        )

    def _weight_estimates(self, t: float) -> tuple[list[tuple[Field, Map]], Map]:
        """Return fields with their weights, and the weight of no motion; they add up to 1."""
        ab, ba = self.flow
        # One step back along the flow; more steps change held-out frames by less than 0.01 dB.
        forward = _warp(ab, ab * -t, _LINEAR)
        backward = _warp(ba, ba * (t - 1), _LINEAR)
        smooth = _mean((forward - backward) / 2, _SMOOTH)
        fields = [forward, -backward, smooth]
        a, b = self.small
        disagreement = [
            cv2.absdiff(_warp(a, field * -t, _LINEAR), _warp(b, field * (1 - t), _LINEAR))
            for field in fields
        ]
        unmoved = cv2.absdiff(a, b)
        moving = np.minimum(_mean(disagreement[0], _WIDE), _mean(disagreement[1], _WIDE))
        share, offset, softness = _STILL
        excess = (moving - share * _mean(unmoved, _WIDE) - offset) / softness
        same = _mean(np.float32(_mean(unmoved, _SAME[0]) <= _SAME[1]), _NEAR)
        static = np.maximum(same, 1 / (1 + np.exp(-np.clip(excess, -30, 30))))
        weights = [np.exp(-_mean(one, _NEAR) / _LENIENT) for one in disagreement]
        scale = (1 - static) / (weights[0] + weights[1] + weights[2])
        pairs = zip(fields, weights, strict=True)
        return [(field, weight * scale) for field, weight in pairs], static

    def _render(
        self, p: Plane, q: Plane, estimates: list[tuple[Field, Map]], static: Map, t: float
    ) -> Plane:
        steps = [_step(n, m) for n, m in zip(self.a[0].shape, p.shape, strict=True)]
        down, across = (self.cell / step for step in steps)
        result: Any = cv2.addWeighted(p, 1 - t, q, t, 0, dtype=cv2.CV_32F)
        result *= self._resize(static, p, steps)
        for field, weight in estimates:
            ends = []
            for image, share in ((p, -t), (q, 1 - t)):
                scale: Any = (across * share, down * share, 0, 0)
                scaled = self._resize(cv2.multiply(field, scale), p, steps)
                ends.append(_warp(image, scaled, _CUBIC))
            mixed = cv2.addWeighted(ends[0], 1 - t, ends[1], t, 0, dtype=cv2.CV_32F)
            cv2.accumulateProduct(mixed, self._resize(weight, p, steps), result)
        # Ties round up, as codecs do: rounding to even costs 1.5 dB on static videos.
        depth = cv2.CV_8U if p.dtype == np.uint8 else cv2.CV_16U
        tie: Any = _TIE
        rounded: Any = cv2.add(result, tie, dtype=depth)
        return np.asarray(np.minimum(rounded, (1 << self.bits) - 1), p.dtype)

    def _resize(self, values: Any, plane: Plane, steps: list[int]) -> Any:
        """Return values of the flow's grid at a plane's samples; the outer edges are aligned."""
        rows, columns = plane.shape
        cells = [-(-n * step // self.cell) for n, step in zip(plane.shape, steps, strict=True)]
        size = [n * self.cell // step for n, step in zip(cells, steps, strict=True)]
        padded = pad_edges(values, cells[0], cells[1])
        return cv2.resize(padded, size[::-1], interpolation=cv2.INTER_LINEAR)[:rows, :columns]


def _step(full: int, part: int) -> int:
    """Return how many samples of the first plane one sample of another covers."""
    return next(step for step in (1, 2, 4) if -(-full // step) == part)


def _suppress_noise(field: Field, cell: int) -> Field:
    squared = np.square(field).sum(-1) * (cell / _MIN_MOTION) ** 2
    share: Field = np.square(squared) / (np.square(squared) + 1)
    return field * share[..., None]


def _warp(image: Any, field: Field, how: int) -> Any:
    """Return each pixel from where the field points to; edges are replicated."""
    nothing: Any = None
    how |= cv2.WARP_RELATIVE_MAP
    return cv2.remap(image, field, nothing, how, borderMode=cv2.BORDER_REPLICATE)


def _mean(values: Any, cells: int) -> Any:
    return cv2.blur(values, (cells, cells), borderType=cv2.BORDER_REPLICATE)
