"""Frames between frames by dense inverse search."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from filmgate.errors import Unsupported
from filmgate.flow.dis import DisFlow
from filmgate.flow.warp_numpy import Pair
from filmgate.media.pixels.planes import Planes


@dataclass(frozen=True, slots=True)
class DisInterpolator:
    """Flow of the first plane (luma, green or grey) moves every plane at its own size.

    Colours are not converted and there is no state: the same two images give the same bits while
    OpenCV has the same number of threads.
    """

    flow: DisFlow = DisFlow()

    def interpolate(self, a: object, b: object, positions: Sequence[Fraction]) -> list[Planes]:
        """Return images at `positions` (0 to 1, both excluded) of the way from `a` to `b`.

        `a` and `b` are Planes of one size and format. Raises Unsupported for anything else.
        """
        if not isinstance(a, Planes) or not isinstance(b, Planes):
            raise Unsupported(f"dis cannot take {type(a).__name__} and {type(b).__name__}: pass "
                              "planes as they were decoded")  # fmt: skip
        if (a.pixels, a.size) != (b.pixels, b.size):
            kinds = [f"{x.size[0]}x{x.size[1]} {x.pixels}" for x in (a, b)]
            raise Unsupported(f"a frame is {kinds[0]} and the next {kinds[1]}: dis needs one size "
                              "and format, so split the video there")  # fmt: skip
        pair = Pair.of(a.arrays, b.arrays, a.bits, self.flow)
        return [a.with_arrays(pair.interpolate(float(position))) for position in positions]
