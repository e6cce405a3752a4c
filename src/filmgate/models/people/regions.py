"""Square, turned regions of an image, and the crops that networks see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import atan2, cos, hypot, pi, remainder, sin
from typing import Any

import numpy as np
import numpy.typing as npt

from filmgate.media.pixels.planes import Planes

Floats = npt.NDArray[np.float64]
_SMALLEST = 1.0  # side of a region that points give, in pixels


@dataclass(frozen=True, slots=True)
class Region:
    """A square in an image: its centre and side in pixels, and its turn in radians.

    (0, 0) is the corner of the image, and (0.5, 0.5) the centre of its first pixel. A positive
    angle turns clockwise, as seen.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0

    def to_image(self, points: Floats) -> Floats:
        """Return points (N, 2) of the region, 0 to 1 in both directions, in pixels of the image."""
        return (points - 0.5) * self.side @ self._turn().T + (self.x, self.y)

    def from_image(self, points: Floats) -> Floats:
        """Return points (N, 2) of the image as points of the region; undoes `to_image`."""
        return (points - (self.x, self.y)) @ self._turn() / self.side + 0.5

    def turn(self, vectors: Floats) -> Floats:
        """Return vectors (N, 2) of the region, turned as they are in the image."""
        return vectors @ self._turn().T

    def scale(self, factor: float) -> Region:
        """Return the region with a larger or smaller side."""
        return replace(self, side=self.side * factor)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The square without its turn: left, top, right and bottom."""
        half = self.side / 2
        return self.x - half, self.y - half, self.x + half, self.y + half

    def _turn(self) -> Floats:
        c, s = cos(self.angle), sin(self.angle)
        return np.array([[c, -s], [s, c]])


def find_angle(start: Floats, end: Floats, wanted: float) -> float:
    """Return the turn, -pi to pi, that gives a line of the angle `wanted` that of start to end.

    An angle of 0 points right, and -pi / 2 up.
    """
    return remainder(atan2(end[1] - start[1], end[0] - start[0]) - wanted, 2 * pi)


def find_upright(centre: Floats, top: Floats) -> Region:
    """Return the square around the circle with this centre, through the point above it."""
    side = max(2 * hypot(*(top - centre)), _SMALLEST)
    return Region(float(centre[0]), float(centre[1]), side, find_angle(centre, top, -pi / 2))


def find_enclosing(points: Floats, angle: float) -> Region:
    """Return the smallest square of this turn around points (N, 2)."""
    turned = Region(0.0, 0.0, 1.0, angle)
    flat = turned.from_image(points) - 0.5
    low, high = flat.min(0), flat.max(0)
    centre = turned.turn((low + high)[None] / 2)[0]
    side = max(float((high - low).max()), _SMALLEST)
    return Region(float(centre[0]), float(centre[1]), side, angle)


def find_overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Return the area that two boxes share, as a part of the area that both cover together."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    total = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / total


# --- crops ----------------------------------------------------------------------------------------


def crop(
    image: Planes, region: Region, side: int, *, average: bool = True
) -> npt.NDArray[np.float32]:
    """Return the region of planes as RGB (side, side, 3) in [0, 1], black outside the image.

    Each plane is turned and resized once, so that a large image is never converted. `average`:
    what is smaller in the crop is averaged first; without it, it is only sampled, as for networks
    that were trained on such crops. Raises Unsupported for planes that cannot become RGB.
    """
    corners = np.array([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5]]) / side
    return warp(image, region.to_image(corners), (side, side), average=average)


def warp(
    image: Planes, corners: Floats, size: tuple[int, int], *, average: bool = True
) -> npt.NDArray[np.float32]:
    """Return a parallelogram of planes as RGB (H, W, 3) in [0, 1]; see `crop`.

    `corners` (3, 2): where in the image the centres of the crop's first pixel, the next one in its
    row, and the next one in its column are. `size`: width and height of the crop.
    """
    from filmgate.media.pixels import color
    from filmgate.media.pixels.format_names import get_subsampling

    across, down = get_subsampling(image.pixels)
    left, top = color.is_cosited(image.colour.siting)
    (black, _), (grey, _) = color.get_code_levels(image.pixels, image.colour)
    is_yuv = image.pixels.startswith("yuv")
    crops = []
    for n, plane in enumerate(image.arrays):
        chroma = is_yuv and n > 0
        step = (across, down) if chroma else (1, 1)
        # where the centre of the first sample is, in pixels
        first = (0.5 if left else across / 2, 0.5 if top else down / 2) if chroma else (0.5, 0.5)
        border = float(grey if chroma else black)
        crops.append(_warp(plane, _find_matrix(corners, step, first), size, border, average))
    colour = image.colour
    if is_yuv:  # an unknown matrix depends on the size of the complete image
        colour = replace(colour, matrix=color.choose_matrix(colour, *image.size))
    pixels = f"yuv444p{image.pixels[7:]}" if is_yuv else image.pixels
    rgb = Planes(tuple(crops), pixels, colour).to_rgb()
    return np.ascontiguousarray(rgb.permute(1, 2, 0).numpy())


def _find_matrix(corners: Floats, step: tuple[int, int], first: tuple[float, float]) -> Floats:
    """Return (2, 3): from samples of the crop to samples of a plane."""
    samples = (corners - first) / step
    return np.column_stack([samples[1] - samples[0], samples[2] - samples[0], samples[0]])


def _warp(plane: Any, matrix: Floats, shape: tuple[int, int], border: float, average: bool) -> Any:
    """Return the crop of one plane; see `warp`."""
    import cv2

    height, width = plane.shape
    across, down = shape
    corners = matrix @ np.array([[0, across, 0, across], [0, 0, down, down], [1, 1, 1, 1]])
    shrink = max(1, int(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))) if average else 1
    # the rows and columns that are read, in complete blocks of `shrink`
    low = np.maximum(np.floor(corners.min(1) / shrink - 2), 0).astype(int) * shrink
    high = np.minimum(np.ceil(corners.max(1) + 2 * shrink), (width, height)).astype(int)
    if (high <= low).any():
        return np.full((down, across), round(border), plane.dtype)
    part = plane[low[1] : high[1], low[0] : high[0]]
    size = np.maximum(-(-(high - low) // shrink), 1)
    if shrink > 1:
        # the last block may be incomplete: it is filled from the edge
        missing = size * shrink - (high - low)
        part = cv2.copyMakeBorder(
            part, 0, int(missing[1]), 0, int(missing[0]), cv2.BORDER_REPLICATE
        )
        part = cv2.resize(part, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    offset = (matrix[:, 2] - low - (shrink - 1) / 2) / shrink
    inner = np.column_stack([matrix[:, :2] / shrink, offset])
    return cv2.warpAffine(
        np.ascontiguousarray(part), inner, shape,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT,
        borderValue=border,
    )  # fmt: skip
