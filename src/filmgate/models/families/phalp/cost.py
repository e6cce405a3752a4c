"""What it costs to give a detection to a track: the product that PHALP calls EQ_019."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from filmgate.models.people.regions import Floats

THRESHOLD = 100.0
MOST_POSE = 1.5  # squared distance of poses
COMPARED = 226  # values of a pose: rotations and shape, without the camera
_APPEARANCE, _POSE, _PLACE, _DEPTH = 4.0536, 1.3070, 0.3792, 4.1658

# Given pairs (N, 2) of a track and a detection, return how far apart they look (N,).
CompareLooks = Callable[[npt.NDArray[np.intp]], Floats]


@dataclass(frozen=True)
class Terms:
    """What is known of T tracks, as predicted, and D detections of a frame.

    `predicted` (T, 6): see `predict_location`; `places` (D, 5): see `locate`. Poses (T, 229) and
    (D, 229) are NaN for people whose pose is unknown.
    """

    predicted: Floats
    places: Floats
    track_poses: Floats
    poses: Floats


def combine(appearance: Floats, pose: Floats, place: Floats, place_off: Floats, depth: Floats,
            depth_off: Floats) -> Floats:  # fmt: skip
    """Return the cost, 1 or more, of the distances; each but appearance and pose by its tolerance.

    `place` and `place_off` are parts of the frame's side, `depth` and `depth_off` logarithms.
    """
    place = place / (0.1 + np.tanh(place_off)) / _PLACE
    depth = depth / (0.1 + np.tanh(depth_off)) / _DEPTH
    looks = combine_looks(appearance, pose)
    with np.errstate(over="ignore"):
        return looks * np.exp(place) * np.exp(depth)


def combine_looks(appearance: Floats, pose: Floats) -> Floats:
    """Return the cost, 1 or more, of two distances where no place is known."""
    return (1 + _APPEARANCE * appearance) * (1 + _POSE * pose)


def bound(costs: Floats, threshold: float) -> Floats:
    """Return the costs; those that exceed `threshold` are 0.00001 above it."""
    bounded: Floats = np.where(costs > threshold, threshold + 1e-5, costs)
    return bounded


def compute_costs(
    terms: Terms, compare_looks: CompareLooks | None, *, threshold: float = THRESHOLD,
    as_upstream: bool = False,
) -> Floats:  # fmt: skip
    """Return the cost (T, D) of each pair of a track and a detection.

    A term whose input is unknown drops out: without a pose or without `compare_looks` its factor
    is 1. What exceeds `threshold` is 0.00001 above it and must not be matched. A cost that is NaN
    is that too; `as_upstream` makes it 0, the best match, as the published code does. Looks are
    compared only where they can matter: their factor is at least 1.
    """
    predicted, places = terms.predicted[:, None], terms.places[None]
    with np.errstate(invalid="ignore", divide="ignore"):
        place = np.hypot(predicted[..., 0] - places[..., 0], predicted[..., 1] - places[..., 1])
        depth = np.abs(np.log(predicted[..., 2] / places[..., 4]))
        place_off = np.hypot(predicted[..., 3], predicted[..., 4])
        depth_off = np.abs(np.log(predicted[..., 5]))
        pose = compare_poses(terms.track_poses, terms.poses)
        costs = combine(np.zeros(1), pose, place, place_off, depth, depth_off)
    if compare_looks is not None:
        pairs = np.argwhere(costs <= threshold)
        looks = np.zeros(costs.shape)
        looks[pairs[:, 0], pairs[:, 1]] = compare_looks(pairs)
        costs = combine(looks, pose, place, place_off, depth, depth_off)
    costs = np.nan_to_num(costs, nan=0.0 if as_upstream else np.inf)
    return bound(costs, threshold)


def compare_poses(tracks: Floats, detections: Floats) -> Floats:
    """Return the squared distances (T, D) of poses, at most 1.5, and 0 where one is unknown."""
    if not len(tracks) or not len(detections):
        return np.zeros((len(tracks), len(detections)))
    off = tracks[:, None, :COMPARED] - detections[None, :, :COMPARED]
    distances: Floats = np.minimum(np.nan_to_num(np.square(off).sum(-1)), MOST_POSE)
    return distances
