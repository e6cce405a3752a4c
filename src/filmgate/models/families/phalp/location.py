"""Where people are, and where they will be: ridge regression over the last frames, by hand.

Rajasegaran et al., "Tracking People by Predicting 3D Appearance, Location and Pose", CVPR 2022,
section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from filmgate.models.people.association import Box, FrameInfo
from filmgate.models.people.regions import Floats

FOCAL = 5000.0  # of the camera that sees the complete frame, in 256ths of the frame's side
SIDE = 256.0
USUAL_SCALE = 0.9  # of people whose camera is unknown: the mean of HMR
RIDGE_DEPTH, RIDGE_X, RIDGE_Y = 5.0, 1.2, 2.0
MOST_AHEAD = 48  # frames without the person, as far as the point is concerned
T_975 = 2.570582  # Student's t of seven values less two, 97.5 %
LENGTH = 5  # of a location
PREDICTED = 6  # values of a prediction


def locate(box: Box, frame: FrameInfo, camera: Sequence[float] | None = None) -> Floats:
    """Return x, y, and the camera's translation tx, ty, tz (5,) of the person in a box.

    x and y are those of the root joint, 0 to 1, in the square that pads the frame; `camera` is
    scale, x and y of the person in the square crop around the box, as HMR 2.0 says it. Without it,
    or with a scale that is not positive, the person is in the middle of the box and of usual size.
    """
    left, top, width, height = box
    square = max(frame.width, frame.height)
    side = max(height, width * 4 / 3) * SIDE / square  # of the crop: boxes are padded to 3 : 4
    scale, x, y = (USUAL_SCALE, 0.0, 0.0) if camera is None else map(float, camera)
    if not scale > 0:
        scale, x, y = USUAL_SCALE, 0.0, 0.0
    depth = 2 * FOCAL / (scale * side + 1e-9)
    centre_x = (left + width / 2 + (square - frame.width) // 2) * SIDE / square
    centre_y = (top + height / 2 + (square - frame.height) // 2) * SIDE / square
    tx = x + (centre_x - SIDE / 2) * depth / FOCAL
    ty = y + (centre_y - SIDE / 2) * depth / FOCAL
    to_frame = FOCAL / SIDE / depth
    return np.array([tx * to_frame + 0.5, ty * to_frame + 0.5, tx, ty, depth])


def start_prediction(location: Floats) -> Floats:
    """Return the prediction (6,) for someone who was seen once: see `predict_location`."""
    x, y, tx, ty, depth = location
    return np.array([x, y, depth, tx, ty, depth])


def predict_location(times: Floats, locations: Floats, misses: int) -> Floats:
    """Return x, y, depth and how far each may be off (6,), `misses` frames after the last one.

    `times` (N,) are frame indexes and `locations` (N, 5) as `locate` returns them. The tolerances
    are half prediction intervals of 95 %, that of depth as a factor, each divided by one more than
    the number of frames that repeat the one before.
    """
    at = times[-1] + 1 + min(misses, MOST_AHEAD)
    repeated = 1 + int(np.sum(np.diff(times) == 0))
    depth, depth_off = fit_ridge(times, np.log(locations[:, 4]), RIDGE_DEPTH, at)
    x, x_off = fit_ridge(times, locations[:, 0], RIDGE_X, at)
    y, y_off = fit_ridge(times, locations[:, 1], RIDGE_Y, at)
    off = np.array([x_off, y_off, np.exp(depth_off)]) / repeated
    return np.array([x, y, np.exp(depth), *off])


def fit_ridge(times: Floats, values: Floats, ridge: float, at: float) -> tuple[float, float]:
    """Return the value at time `at` of a line through `values`, and half its 95 % interval.

    The slope is shrunk by `ridge`. If all times are equal the interval is infinite.
    """
    # sums, no products of matrices: low bits of those may depend on where arrays are in memory
    count, middle = len(times), times.mean()
    offsets = times - middle
    spread = float(np.square(offsets).sum())
    slope = float((offsets * (values - values.mean())).sum()) / (spread + ridge)
    point = float(values.mean() + slope * (at - middle))
    if spread == 0:
        return point, float("inf")
    residuals = values - values.mean() - slope * offsets
    error = np.sqrt(float(np.square(residuals).sum()) / (count - 2))
    return point, float(T_975 * error * np.sqrt(1 + 1 / count + (at - middle) ** 2 / spread))
