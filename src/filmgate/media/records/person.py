"""What the record of someone says, in the terms that formats share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

Points = Sequence[Sequence[float]]

COCO_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
    "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
# Lines between the points of COCO, which count from 0.
COCO_LINES = ((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7),
              (6, 8), (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5),
              (4, 6))  # fmt: skip
_COLOURS = ((255, 128, 0), (0, 200, 90), (255, 0, 220), (0, 160, 255), (255, 225, 0),
            (150, 90, 255), (255, 70, 70), (0, 200, 200), (170, 220, 0),
            (255, 140, 180))  # fmt: skip
# Where the points of COCO are in other skeletons.
_COCO_PLACES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "coco": tuple(range(17)),
        "blazepose": (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28),
        "openpose": (0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11),
    }
)


def find_keypoints(record: Mapping[str, Any]) -> tuple[str, Points, Sequence[float]]:
    """Return the skeleton, points (x, y, ...) in pixels and their scores; empty if unknown."""
    if points := record.get("points"):
        scores = record.get("point_scores") or record.get("visibility") or ()
        return str(record.get("skeleton", "")), points, scores
    return ("openpose", record["joints_2d"], ()) if record.get("joints_2d") else ("", (), ())


def find_coco_points(record: Mapping[str, Any]) -> list[tuple[float, float, float]]:
    """Return x, y and score of the 17 points of COCO; empty if they are unknown."""
    skeleton, points, scores = find_keypoints(record)
    places = _COCO_PLACES.get(skeleton, ())
    if not places or len(points) <= max(places):
        return []
    known = len(scores) == len(points)
    return [(float(points[k][0]), float(points[k][1]), float(scores[k]) if known else 1.0)
            for k in places]  # fmt: skip


def flatten(values: Any) -> list[float]:
    """Return the numbers of nested sequences in their order. Raises ValueError for ragged ones."""
    import numpy as np

    numbers: list[float] = np.array(values, np.float64).ravel().tolist()
    return numbers


def choose_colour(id: int) -> tuple[int, int, int]:
    """Return the colour (R, G, B) of a number; it is the same wherever someone is drawn."""
    return _COLOURS[id % len(_COLOURS)]
