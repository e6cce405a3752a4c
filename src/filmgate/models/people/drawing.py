"""Draw the records of people and faces on an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

Chains = tuple[tuple[int, ...], ...]

# Points that are joined by lines, by the kind of record.
LINES: MappingProxyType[str, Chains] = MappingProxyType(
    {
        "pose": (
            (8, 6, 5, 4, 0, 1, 2, 3, 7), (10, 9), (11, 12, 24, 23, 11), (11, 13, 15), (12, 14, 16),
            (15, 17, 19, 15, 21), (16, 18, 20, 16, 22), (23, 25, 27, 29, 31, 27),
            (24, 26, 28, 30, 32, 28),
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
_COLOURS = ((255, 128, 0), (0, 200, 90), (255, 0, 220), (0, 160, 255), (255, 225, 0))


def draw_records(image: npt.NDArray[np.uint8], records: Iterable[Mapping[str, Any]]) -> None:
    """Draw points, lines and numbers on an RGB image (H, W, 3), in place.

    Records of other kinds are passed over. A colour stays with its number.
    """
    import cv2

    width = max(1, round(max(image.shape) / 500))
    for record in records:
        if record.get("kind") not in LINES:
            continue
        colour = _COLOURS[record["id"] % len(_COLOURS)]
        points = np.round(np.array(record["points"])[:, :2]).astype(np.int32)
        lines = [points[list(chain)] for chain in LINES[record["kind"]]]
        cv2.polylines(image, lines, False, colour, width, cv2.LINE_AA)
        for x, y in points.tolist():
            cv2.circle(image, (x, y), max(1, width // 2), (255, 255, 255), -1)
        left, top = points.min(0).tolist()
        text = f"{record['id']}: {record['score']:.2f}"
        cv2.putText(image, text, (left, max(12 * width, top - 4 * width)), cv2.FONT_HERSHEY_SIMPLEX,
                    width / 2.5, colour, width, cv2.LINE_AA)  # fmt: skip
