"""Take faces out of images and put them back, only where they were changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from filmgate.media.pixels import color
from filmgate.media.pixels.format_names import get_subsampling
from filmgate.media.pixels.planes import Planes
from filmgate.models.families.latentsync.alignment import Crop, Floats, Matrix, invert

_FILL = 127  # outside of the image, in code values of 8 bits
_CHROMA_MARGIN = 4  # pixels around a part, from which chroma is interpolated
_SOFT = 20  # the edge of a pasted face is this part of the side of a square of its area


@dataclass(frozen=True, slots=True)
class Part:
    """A rectangle of an image on the grid of its chroma; right and bottom are not part of it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def is_empty(self) -> bool:
        """Whether it has no pixel."""
        return self.right <= self.left or self.bottom <= self.top

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.bottom - self.top, self.right - self.left

    def list_slices(self, image: Planes) -> list[tuple[slice, slice]]:
        """Return where it is in each plane."""
        across, down = get_subsampling(image.pixels)
        slices = []
        for n in range(len(image.arrays)):
            x, y = (across, down) if n and image.pixels.startswith("yuv") else (1, 1)
            slices.append((slice(self.top // y, -(-self.bottom // y)),
                           slice(self.left // x, -(-self.right // x))))  # fmt: skip
        return slices


def find_part(image: Planes, matrix: Matrix, crop: Crop, margin: int) -> Part:
    """Return the part of an image that a crop covers, with a margin in pixels."""
    corners = np.array([[0, 0, 1], [crop.width - 1, 0, 1], [0, crop.height - 1, 1],
                        [crop.width - 1, crop.height - 1, 1]], np.float64)  # fmt: skip
    points = corners @ invert(matrix).T
    across, down = get_subsampling(image.pixels)
    width, height = image.size
    low, high = np.floor(points.min(0)) - margin, np.ceil(points.max(0)) + margin + 1
    left, top = max(0, int(low[0])), max(0, int(low[1]))
    return Part(
        left - left % across,
        top - top % down,
        min(width, -(-int(high[0]) // across) * across),
        min(height, -(-int(high[1]) // down) * down),
    )


def extract_face(image: Planes, matrix: Matrix, crop: Crop) -> npt.NDArray[np.uint8]:
    """Return the aligned face (side, side, 3), RGB, of 8 bits. Raises Unsupported.

    The crop is sampled bilinearly, and stretched by Lanczos interpolation to a square.
    """
    import cv2

    part = find_part(image, matrix, crop, _CHROMA_MARGIN)
    if part.is_empty:
        return np.full((crop.side, crop.side, 3), _FILL, np.uint8)
    rgb = _take(image, part).to_rgb() * 255 - _FILL
    inverse = invert(matrix) - [[0, 0, part.left], [0, 0, part.top]]
    sampled = _sample(rgb, inverse, (crop.height, crop.width)) + _FILL
    pixels = sampled.clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    side = crop.side
    return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_LANCZOS4)  # type: ignore[return-value]


def paste_face(
    image: Planes,
    face: Tensor,
    matrix: Matrix,
    crop: Crop,
    shown: npt.NDArray[np.float32] | None = None,
    weight: float = 1.0,
) -> Planes:
    """Return the image with an aligned face (3, side, side), RGB in [0, 1], over what was there.

    `weight` and `shown` (side, side) are how much of the face is seen, 0 to 1. Samples where the
    soft mask is 0 stay as they are: they are copied, not converted.
    """
    soft, part = make_soft_mask(image, matrix, crop, shown)
    if part.is_empty or not soft.any():
        return image
    size = crop.height, crop.width
    resized = functional.interpolate(face[None], size, mode="bicubic", antialias=True)[0]
    own = np.array(matrix, np.float64).reshape(2, 3)
    own[:, 2] += own[:, :2] @ (part.left, part.top)
    pasted = _sample(resized.clamp_(0, 1), own, part.size, "border")
    below = _take(image, part)
    above = below.from_rgb(pasted)
    arrays = []
    for n, (old, new) in enumerate(zip(below.arrays, above.arrays, strict=True)):
        alpha = weight * _shrink(soft, old.shape) if n else weight * soft
        mixed = old + (new.astype(np.float32) - old) * alpha
        arrays.append(np.rint(mixed).astype(old.dtype))
    return _put(image, part, arrays)


def make_soft_mask(
    image: Planes, matrix: Matrix, crop: Crop, shown: npt.NDArray[np.float32] | None = None
) -> tuple[npt.NDArray[np.float32], Part]:
    """Return how much of a pasted face is seen, 0 to 1, and the part of the image it covers.

    It fades out at the edge of the crop. `shown` (side, side): how much of it is seen inside.
    """
    import cv2

    a = np.array(matrix, np.float64).reshape(2, 3)
    area = crop.width * crop.height / abs(np.linalg.det(a[:, :2]))
    part = find_part(image, matrix, crop, 2 * (int(area**0.5) // _SOFT + 2))
    if part.is_empty:
        return np.zeros((0, 0), np.float32), part
    a[:, 2] += a[:, :2] @ (part.left, part.top)
    ones = torch.ones(1, crop.height, crop.width)
    mask: Any = _sample(ones, a, part.size)[0].numpy()
    mask = cv2.erode(mask, np.ones((2, 2), np.uint8))
    edge = int(float(mask.sum()) ** 0.5) // _SOFT
    if edge:
        mask = cv2.erode(mask, np.ones((2 * edge, 2 * edge), np.uint8))
        mask = cv2.GaussianBlur(mask, (2 * edge + 1, 2 * edge + 1), 0)
    if shown is not None:
        resized = cv2.resize(shown, (crop.width, crop.height), interpolation=cv2.INTER_AREA)
        mask = mask * _sample(torch.from_numpy(resized)[None], a, part.size)[0].numpy()
    return mask.clip(0, 1), part


def _take(image: Planes, part: Part) -> Planes:
    """Return a part of an image; an unknown matrix depends on the size of the complete image."""
    arrays = tuple(plane[place] for plane, place in
                   zip(image.arrays, part.list_slices(image), strict=True))  # fmt: skip
    colour = image.colour
    if image.pixels.startswith("yuv"):
        colour = replace(colour, matrix=color.choose_matrix(colour, *image.size))
    return Planes(arrays, image.pixels, colour)


def _put(image: Planes, part: Part, arrays: list[Any]) -> Planes:
    """Return a copy of the image with other samples in one part."""
    planes = []
    for plane, place, new in zip(image.arrays, part.list_slices(image), arrays, strict=True):
        copy = plane.copy()
        copy[place] = new
        planes.append(copy)
    return image.with_arrays(tuple(planes))


def _shrink(mask: npt.NDArray[np.float32], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return the mask at the size of a smaller plane: the mean of what each sample covers."""
    if mask.shape == shape:
        return mask
    down, across = (-(-a // b) for a, b in zip(mask.shape, shape, strict=True))
    missing = shape[0] * down - mask.shape[0], shape[1] * across - mask.shape[1]
    complete = np.pad(mask, ((0, missing[0]), (0, missing[1])), mode="edge")
    cells = complete.reshape(shape[0], down, shape[1], across)
    return cells.mean((1, 3), dtype=np.float32)  # type: ignore[no-any-return]


def _sample(image: Tensor, matrix: Floats, size: tuple[int, int], padding: str = "zeros") -> Tensor:
    """Return (C, *size): what the image (C, H, W) has where `matrix` (2, 3) leads, bilinearly.

    Integers are the centres of pixels.
    """
    height, width = image.shape[1:]
    a = torch.from_numpy(matrix).float()
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], -1).float() @ a.T
    grid = (places * 2 + 1) / torch.tensor([width, height]) - 1
    found = functional.grid_sample(
        image[None].float(), grid[None], padding_mode=padding, align_corners=False
    )
    return found[0]
