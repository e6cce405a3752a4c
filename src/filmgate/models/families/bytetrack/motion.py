"""A Kalman filter of boxes that move at constant velocity.

Centre, width and height are filtered each by itself: their noise is independent. Its size is a part
of the height of the box, as in Wojke et al., "Simple Online and Realtime Tracking with a Deep
Association Metric", ICIP 2017; time is in seconds, so that a frame may last as long as it likes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from filmgate.models.people.association import Box

Floats = npt.NDArray[np.float64]

_RATE = 30.0  # frames per second at which the noise below is that of one frame
_PLACE = 1 / 20  # standard deviation of a place, in heights
_SPEED = 1 / 160  # of the change of speed, in heights per frame
_START_PLACE, _START_SPEED = 2 * _PLACE, 10 * _SPEED
_SMALLEST = 1.0  # pixels


@dataclass(frozen=True, slots=True)
class Motion:
    """Where a box is and how it moves: values and speeds (4) of centre x, y, width and height.

    Speeds are in pixels per 1/30 s. `variances` (3, 4): of values, of both, of speeds. `time` in
    seconds.
    """

    values: Floats
    speeds: Floats
    variances: Floats
    time: Fraction

    @property
    def box(self) -> Box:
        """Left, top, width and height, in pixels."""
        x, y, width, height = self.values.tolist()
        width, height = max(width, _SMALLEST), max(height, _SMALLEST)
        return x - width / 2, y - height / 2, width, height


def start_motion(box: Box, time: Fraction) -> Motion:
    """Return the state of a box that is seen for the first time, at rest."""
    height = max(box[3], _SMALLEST)
    variances = np.zeros((3, 4))
    variances[0], variances[2] = (_START_PLACE * height) ** 2, (_START_SPEED * height) ** 2
    return Motion(_to_values(box), np.zeros(4), variances, time)


def predict(motion: Motion, time: Fraction) -> Motion:
    """Return the state at a later time."""
    frames = float(time - motion.time) * _RATE
    height = max(float(motion.values[3]), _SMALLEST)
    place, both, speed = motion.variances
    variances = np.stack([
        place + 2 * frames * both + frames**2 * speed + frames * (_PLACE * height) ** 2,
        both + frames * speed,
        speed + frames * (_SPEED * height) ** 2,
    ])  # fmt: skip
    return replace(motion, values=motion.values + frames * motion.speeds, variances=variances,
                   time=time)  # fmt: skip


def correct(motion: Motion, box: Box) -> Motion:
    """Return the state after a box was measured at the time of `motion`."""
    height = max(float(motion.values[3]), _SMALLEST)
    place, both, speed = motion.variances
    total = place + (_PLACE * height) ** 2
    gain, speed_gain = place / total, both / total
    error = _to_values(box) - motion.values
    variances = np.stack([(1 - gain) * place, (1 - gain) * both, speed - speed_gain * both])
    return replace(motion, values=motion.values + gain * error,
                   speeds=motion.speeds + speed_gain * error, variances=variances)  # fmt: skip


def stop(motion: Motion) -> Motion:
    """Return the state with a size that stays: who is not seen does not grow or shrink."""
    return replace(motion, speeds=motion.speeds * (1.0, 1.0, 0.0, 0.0))


def _to_values(box: Box) -> Floats:
    left, top, width, height = box
    return np.array([left + width / 2, top + height / 2, width, height])
