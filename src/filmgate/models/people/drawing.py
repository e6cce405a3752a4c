"""Draw people and faces on planes, as their records say; other pixels keep their bits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from filmgate.core.frame import ColorTags, Frame
from filmgate.media.pixels.format_names import get_bit_depth, get_subsampling, has_alpha
from filmgate.media.pixels.planes import Plane, Planes
from filmgate.media.records.person import COCO_LINES, choose_colour
from filmgate.models.people.following import get_planes

Chains = tuple[tuple[int, ...], ...]
Mask = npt.NDArray[np.uint8]
Rgb = tuple[int, int, int]

# Points that are joined by lines, by the skeleton of a person or the kind of record.
LINES: MappingProxyType[str, Chains] = MappingProxyType(
    {
        "blazepose": (
            (8, 6, 5, 4, 0, 1, 2, 3, 7), (10, 9), (11, 12, 24, 23, 11), (11, 13, 15), (12, 14, 16),
            (15, 17, 19, 15, 21), (16, 18, 20, 16, 22), (23, 25, 27, 29, 31, 27),
            (24, 26, 28, 30, 32, 28),
        ),
        "coco": COCO_LINES,
        # the first 25 joints of 45
        "openpose": (
            (17, 15, 0, 16, 18), (0, 1, 8), (4, 3, 2, 1, 5, 6, 7), (11, 10, 9, 8, 12, 13, 14),
            (24, 11, 22, 23), (21, 14, 19, 20),
        ),
        "face": (
            # the oval
            (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400,
             377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67,
             109, 10),
            # the lips, outside and inside
            (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40,
             185, 61),
            (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80,
             191, 78),
            # the person's left eye, and the right one
            (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466, 263),
            (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246, 33),
        ),
    }
)  # fmt: skip
_HDR_WHITE = MappingProxyType({"smpte2084": 0.58, "arib-std-b67": 0.75})  # ITU-R BT.2408
_SKELETONS = MappingProxyType({"pose": "blazepose", "face": "face"})  # of records without its name
_BLACK = (0, 0, 0)
_WHITE = (255, 255, 255)


def draw_on_frames(frames: Sequence[Frame]) -> list[Frame]:
    """Return the frames with their records drawn on them."""
    drawn = []
    for frame in frames:
        records: Any = frame.extras.get("records", ())
        image = draw_records(get_planes(frame), records)
        drawn.append(replace(frame, image=image))
    return drawn


def draw_records(image: Planes, records: Iterable[Mapping[str, Any]]) -> Planes:
    """Return the image with boxes, numbers and skeletons; those of records of other kinds are not.

    A colour stays with its number. Boxes of people who were not seen are faint. The planes of
    `image` are not modified, and pixels that nothing is drawn on are the same.
    """
    layers = [layer for record in records for layer in _draw_record(record, image.size)]
    if not layers:
        return image
    arrays = [array.copy() for array in image.arrays]
    for layer in layers:
        _paint(arrays, layer, image)
    return image.with_arrays(tuple(arrays))


@dataclass(frozen=True, slots=True)
class _Layer:
    """One colour and where it is: `mask` (rows, columns), 255 for opaque, begins at `corner`."""

    colour: Rgb
    mask: Mask
    corner: tuple[int, int]  # x, y


class _Canvas:
    """A mask around what is drawn, in coordinates of the image. Its corner is a multiple of 4."""

    def __init__(
        self, low: npt.NDArray[Any], high: npt.NDArray[Any], size: tuple[int, int]
    ) -> None:
        bounds = np.array(size) + 3
        self._low = (np.clip(np.floor(low), 0, bounds) // 4 * 4).astype(int)
        high = (-(-np.clip(np.ceil(high), 0, bounds) // 4) * 4).astype(int)
        width, height = np.maximum(high - self._low, 0).tolist()
        self.mask = np.zeros((height, width), np.uint8)

    def place(self, points: npt.ArrayLike) -> npt.NDArray[np.int32]:
        """Return points (N, 2) of the image as integers of the mask."""
        moved = np.asarray(points, np.float64) - self._low
        placed: npt.NDArray[np.int32] = np.clip(np.round(moved), -30_000, 30_000).astype(np.int32)
        return placed  # within what OpenCV can draw

    def make_layer(self, colour: Rgb) -> list[_Layer]:
        """Return the mask as a layer; none if nothing is drawn in the image."""
        corner = int(self._low[0]), int(self._low[1])
        return [_Layer(colour, self.mask, corner)] if self.mask.any() else []


def _draw_record(record: Mapping[str, Any], size: tuple[int, int]) -> list[_Layer]:
    """Return the layers of a record, none if it is of another kind."""
    kind, width = record.get("kind"), max(1, round(max(size) / 500))
    if kind not in ("person", "pose", "face"):
        return []
    colour, layers = choose_colour(record["id"]), list[_Layer]()
    name, points = _find_points(record)
    if len(points):
        layers += _draw_points(points, LINES.get(name, ()), colour, width, size)
    top_left = points.min(0) if len(points) else np.zeros(2)
    if kind == "person":
        left, top, wide, high = record["box"]
        top_left = np.array([left, top])
        strength = 255 if record.get("seen", True) else 110
        end = np.array([left + wide, top + high])
        layers += _draw_box(top_left, end, strength, colour, width, size)
    label = f"{record['id']}" if kind == "person" else f"{record['id']}: {record['score']:.2f}"
    return layers + _draw_label(label, top_left, colour, width, size)


def _find_points(record: Mapping[str, Any]) -> tuple[str, npt.NDArray[np.float64]]:
    """Return the name of the lines of a record, and its points (N, 2); none if it has none."""
    points = record.get("points", ())
    name = str(record.get("skeleton", _SKELETONS.get(record["kind"], "")))
    if not len(points) and len(record.get("joints_2d", ())):
        name, points = "openpose", record["joints_2d"][:25]
    return name, np.array([point[:2] for point in points], np.float64).reshape(-1, 2)


def _draw_points(
    points: npt.NDArray[np.float64], chains: Chains, colour: Rgb, width: int, size: tuple[int, int]
) -> list[_Layer]:
    import cv2

    margin = 2 * width + 2
    lines = _Canvas(points.min(0) - margin, points.max(0) + margin, size)
    placed, known = lines.place(points), [chain for chain in chains if max(chain) < len(points)]
    dots = _Canvas(points.min(0) - margin, points.max(0) + margin, size)
    if not lines.mask.size:
        return []
    cv2.polylines(lines.mask, [placed[list(c)] for c in known], False, 255, width, cv2.LINE_AA)
    for x, y in placed.tolist():
        cv2.circle(dots.mask, (x, y), max(1, width // 2), 255, -1)
    return lines.make_layer(colour) + dots.make_layer(_WHITE)


def _draw_box(
    low: npt.NDArray[Any], high: npt.NDArray[Any], strength: int, colour: Rgb, width: int,
    size: tuple[int, int],
) -> list[_Layer]:  # fmt: skip
    import cv2

    canvas = _Canvas(low - width, high + width, size)
    if not canvas.mask.size:
        return []
    corner, end = canvas.place([low, high]).tolist()
    cv2.rectangle(canvas.mask, corner, end, strength, width)
    return canvas.make_layer(colour)


def _draw_label(
    text: str, top_left: npt.NDArray[Any], colour: Rgb, width: int, size: tuple[int, int]
) -> list[_Layer]:
    """Return a filled rectangle with the text in it, above a point and inside the image."""
    import cv2

    font, scale = cv2.FONT_HERSHEY_SIMPLEX, max(0.4, width / 2.5)
    (wide, high), below = cv2.getTextSize(text, font, scale, width)
    pad = 2 * width
    extent = np.array([wide + 2 * pad, high + below + pad])
    room = np.maximum(np.array(size) - extent, 0)
    low = np.clip(top_left - np.array([0, extent[1]]), 0, room).round()
    back, front = (_Canvas(low, low + extent, size) for _ in range(2))
    if not back.mask.size:
        return []
    corner, end = back.place([low, low + extent]).tolist()
    cv2.rectangle(back.mask, corner, end, 255, -1)
    x, y = front.place([low + np.array([pad, high + pad // 2])])[0].tolist()
    cv2.putText(front.mask, text, (x, y), font, scale, 255, width, cv2.LINE_AA)
    is_dark = np.dot(colour, (0.3, 0.6, 0.1)) < 140
    return back.make_layer(colour) + front.make_layer(_WHITE if is_dark else _BLACK)


def _paint(arrays: list[Plane], layer: _Layer, image: Planes) -> None:
    """Blend a colour into planes where its mask is not 0."""
    import cv2

    across, down = get_subsampling(image.pixels)
    codes = _find_codes(layer.colour, image.pixels, image.colour, image.size)
    for n, (array, code) in enumerate(zip(arrays, codes, strict=True)):
        mask, (x, y) = layer.mask, layer.corner
        if image.pixels.startswith("yuv") and n in (1, 2) and (across, down) != (1, 1):
            small = mask.shape[1] // across, mask.shape[0] // down
            mask = cv2.resize(mask, small, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
            x, y = x // across, y // down
        part = array[y : y + mask.shape[0], x : x + mask.shape[1]]
        mask = mask[: part.shape[0], : part.shape[1]]
        drawn = mask > 0
        old, share = part[drawn].astype(np.int32), mask[drawn].astype(np.int32)
        part[drawn] = old + ((code - old) * share + 127) // 255


@lru_cache(maxsize=64)
def _find_codes(
    colour: Rgb, pixels: str, tags: ColorTags, size: tuple[int, int]
) -> tuple[int, ...]:
    """Return the values of a colour in each plane; alpha is opaque. HDR: at its reference white."""
    import torch

    from filmgate.media.pixels.color import choose_matrix

    values = torch.tensor(colour).view(3, 1, 1) / 255 * _HDR_WHITE.get(tags.transfer, 1.0)
    opaque = pixels.replace("yuva", "yuv").replace("gbrap", "gbrp")
    tags = replace(tags, matrix=choose_matrix(tags, *size))
    patch = Planes((), opaque, tags).from_rgb(values.expand(3, 4, 4))
    codes = [int(array[0, 0]) for array in patch.arrays]
    return (*codes, 2 ** get_bit_depth(pixels) - 1) if has_alpha(pixels) else tuple(codes)
