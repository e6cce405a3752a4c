"""Points of a driver's head on the portrait: their places, the drawn image, and the face's box."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from filmgate.models.families.personalive.extractor import Head

_SHOWN = (1, 2, 3, 4, 12, 15, 20)  # points that are drawn, and that place the face's box
_COLOURS = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255),
            (255, 0, 85))  # fmt: skip
_SHIFT = 0.5  # of how far the driver moves
GRID = 512  # places of a side on which boxes are found
RADIUS = 4  # of the discs, in pixels of a canvas of 512


class Box(NamedTuple):
    """A region of a square image, in pixels of 512; right and bottom are excluded."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def is_empty(self) -> bool:
        """Whether it has no pixel."""
        return self.right <= self.left or self.bottom <= self.top


def place_points(head: Head) -> Tensor:
    """Return the points (N, 21, 3) of heads in their own images, -1 to 1 from edge to edge."""
    placed = head.points @ _make_rotation(head.angles) * head.scale[:, :, None]
    return placed + _flatten_depth(head.shift)[:, None]


def retarget(portrait: Head, driver: Head, anchor: Tensor) -> Tensor:
    """Return the points (N, 21, 3) of the portrait, turned and moved like the driver's heads.

    `anchor` (1, 3) is the shift of the driver in the first frame: movement counts from there.
    """
    shift = portrait.shift + _SHIFT * (driver.shift - anchor)
    moved = Head(portrait.points.expand_as(driver.points), driver.angles, shift,
                 portrait.scale.expand_as(driver.scale))  # fmt: skip
    return place_points(moved)


def approach(portrait: Head, driver: Head, count: int) -> Tensor:
    """Return the points (count, 21, 3) on the way from the portrait to the first driving frame.

    The way is linear in angles, shift and scale, and its end, the driver's own pose, is excluded.
    """
    share = torch.arange(count, dtype=torch.float32, device=driver.angles.device)[:, None] / count
    return place_points(Head(
        portrait.points.expand(count, -1, -1), _mix(portrait.angles, driver.angles, share),
        portrait.shift.expand(count, -1), portrait.scale.expand(count, -1),
    ))  # fmt: skip


def _mix(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    return a + share * (b - a)


def draw_points(points: Tensor, size: int, radius: float | None = None) -> Tensor:
    """Return canvases (N, 3, size, size) in [0, 1] with a disc for seven of the points.

    Default radius: 4 pixels of 512. Overlapping discs are added.
    """
    radius = RADIUS * size / GRID if radius is None else radius
    at = _to_pixels(points, size)  # (N, 7, 2): x, y
    places = torch.arange(size, device=points.device, dtype=at.dtype)
    across = (places - at[..., :1]) ** 2  # (N, 7, size)
    down = (places - at[..., 1:]) ** 2
    discs = down[..., :, None] + across[..., None, :] <= radius**2
    colours = torch.tensor(_COLOURS, dtype=torch.float32, device=points.device) / 255
    return torch.einsum("npyx,pc->ncyx", discs.float(), colours).clamp_(0, 1)


def find_box(points: Tensor) -> Box:
    """Return the box of the face with these points (21, 3), clipped to the image."""
    at = _to_pixels(points[None].cpu(), GRID)[0]
    (x, y), top = at.mean(0).tolist(), float(at[:, 1].min())
    side = 2 * 1.7 * (y - top)
    corners = (x - 0.95 * side / 2, y - 0.95 * side / 2, x + 1.05 * side / 2, y + 1.05 * side / 2)
    return Box(*(int(min(max(corner, 0), GRID - 1)) for corner in corners))


def _to_pixels(points: Tensor, size: int) -> Tensor:
    """Return x and y (N, 7, 2) of the points that are shown, in complete pixels."""
    return ((points[:, list(_SHOWN), :2].float() * 0.5 + 0.5) * size).trunc()


def _flatten_depth(shift: Tensor) -> Tensor:
    """Return shifts (N, 3) without depth."""
    return shift * shift.new_tensor([1, 1, 0])


def _make_rotation(angles: Tensor) -> Tensor:
    """Return rotations (N, 3, 3), to be multiplied from the right, of angles in degrees."""
    x, y, z = angles.deg2rad().unbind(1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)

    def stack(*rows: Tensor) -> Tensor:
        return torch.unflatten(torch.stack(rows, 1), 1, (3, 3))

    about_x = stack(one, zero, zero, zero, x.cos(), -x.sin(), zero, x.sin(), x.cos())
    about_y = stack(y.cos(), zero, y.sin(), zero, one, zero, -y.sin(), zero, y.cos())
    about_z = stack(z.cos(), -z.sin(), zero, z.sin(), z.cos(), zero, zero, zero, one)
    return (about_z @ about_y @ about_x).transpose(1, 2)
