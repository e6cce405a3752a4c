"""Turn, scale and move faces to where the network was trained to see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Point = tuple[float, float]
# Brows and nose in a crop of 75 x 100, the brow at the left of the image first.
_TEMPLATE = np.array([[17.0, 20.0], [58.0, 20.0], [37.5, 40.0]])
_WIDTH, _HEIGHT = 75, 100
_KEPT = 0.2  # of the nose's place in the frame before


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Three points of a face, in pixels of its image: the centre of each brow, and the nose.

    `left` is at the left of the image. (0, 0) is the centre of the first pixel. `chin` is not used
    to align; None if it is not known. `certainty`: how sure it is that they are seen, 0 to 1.
    `covered`: something is in front of the mouth.
    """

    left: Point
    right: Point
    nose: Point
    chin: Point | None = None
    certainty: float = 1.0
    covered: bool = False

    def to_array(self) -> Floats:
        """Return the points as an array (3, 2)."""
        return np.array([self.left, self.right, self.nose], np.float64)


Matrix = tuple[float, float, float, float, float, float]  # two rows, from the image to the crop


@dataclass(frozen=True, slots=True)
class Crop:
    """The size of the crop that is stretched to faces of a side of `side` pixels."""

    side: int

    @property
    def scale(self) -> float:
        """Pixels of the crop for one of the template."""
        return 2.8 * self.side / 256

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(_WIDTH * self.scale)

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(_HEIGHT * self.scale)


def align(landmarks: Landmarks, bias: tuple[float, ...], crop: Crop) -> tuple[Matrix, Point]:
    """Return the matrix from an image to the crop, and the smoothed place of the nose.

    `bias` is that place in the frame before, () if there is none. It is how far the nose is from
    where the template has it, in normalized units, and moves the crop. Source: Umeyama,
    "Least-Squares Estimation of Transformation Parameters Between Two Point Patterns", 1991.
    """
    source, template = landmarks.to_array(), _TEMPLATE * crop.scale
    at, wanted = source.mean(0), template.mean(0)
    spread, target = np.std(source - at, ddof=1), np.std(template - wanted, ddof=1)
    one, other = (source - at) / spread, (template - wanted) / target
    u, _, v = np.linalg.svd(one.T @ other)
    turn = (u @ v).T
    if np.linalg.det(turn) < 0:
        v[1] = -v[1]
        turn = (u @ v).T
    offset = other[2] - one[2]
    if bias:
        offset = _KEPT * np.array(bias) + (1 - _KEPT) * offset
    linear = target / spread * turn
    moved = wanted - linear @ at + offset
    matrix = np.column_stack([linear, moved]).ravel().tolist()
    return (*matrix,), (float(offset[0]), float(offset[1]))


def find_height(point: Point | None, matrix: Matrix, crop: Crop) -> float:
    """Return how far down a point of the image is in the crop: 1 at its lower edge; 0 for None."""
    if point is None:
        return 0.0
    _, _, _, a, b, c = matrix
    return (a * point[0] + b * point[1] + c + 0.5) / crop.height


def invert(matrix: Matrix) -> Floats:
    """Return the matrix (2, 3) from the crop to the image."""
    a = np.array(matrix, np.float64).reshape(2, 3)
    inverse = np.linalg.inv(a[:, :2])
    return np.column_stack([inverse, -inverse @ a[:, 2]])
