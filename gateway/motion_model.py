"""Motion model: where a box probably is by now, and how far off that may be.

A Kalman filter of constant velocity over a box's centre and size, as in ByteTrack (Zhang et al. 2022, arXiv
2110.06864), but in continuous time: the noise of a step grows with its length in seconds and with the size of the box,
so 2 and 25 pictures a second are followed by the same numbers. The four coordinates do not touch each other in this
model, so each has its own filter of place and speed, written out below.

Lengths are in heights of the picture (widths are multiplied by its aspect ratio before they get here).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

# Columns of a state: (n, 4 coordinates cx cy w h, these 5).
PLACE, SPEED, PLACE_VARIANCE, COVARIANCE, SPEED_VARIANCE = range(5)

# All in box sizes (the longer side). A walking person covers 0.8 of his height a second and changes that within about
# one second; sizes change more slowly. A detector's box is off by a twentieth of its size.
OFF = np.array([0.06, 0.06, 0.08, 0.14])  # standard deviation of one measurement
PUSH = np.array([0.6, 0.4, 0.2, 0.2])  # of the change of speed in one second
FIRST_SPEED = np.array([0.8, 0.4, 0.15, 0.15])  # of the speed of something seen once


def begin(measured: Array) -> Array:
    """States (n, 4, 5) of boxes (n, 4) seen for the first time."""
    size = _sizes(measured[:, 2:])
    state = np.zeros((len(measured), 4, 5))
    state[..., PLACE] = measured
    state[..., PLACE_VARIANCE] = (size * OFF) ** 2
    state[..., SPEED_VARIANCE] = (size * FIRST_SPEED) ** 2
    return state


def predict(state: Array, seconds: Array) -> Array:
    """The states after so many seconds each (n,), which may be 0."""
    step = seconds[:, None]
    push = (_sizes(state[:, 2:, PLACE]) * PUSH) ** 2  # of white-noise acceleration, per second
    place, speed, place_variance, covariance, speed_variance = np.moveaxis(state, 2, 0)
    after = np.stack(
        [
            place + speed * step,
            speed,
            place_variance + step * (2 * covariance + step * speed_variance) + push * step**3 / 3,
            covariance + step * speed_variance + push * step**2 / 2,
            speed_variance + push * step,
        ],
        axis=2,
    )
    after[:, 2:, PLACE] = np.maximum(after[:, 2:, PLACE], 1e-4)  # nothing shrinks to less than nothing
    return after


def correct(state: Array, measured: Array) -> Array:
    """The states once their boxes (n, 4) have been seen."""
    place, speed, place_variance, covariance, speed_variance = np.moveaxis(state, 2, 0)
    total = place_variance + noise(state)
    gain, speed_gain = place_variance / total, covariance / total
    off = measured - place
    after: Array = np.stack(
        [
            place + gain * off,
            speed + speed_gain * off,
            (1 - gain) * place_variance,
            (1 - gain) * covariance,
            speed_variance - speed_gain * covariance,
        ],
        axis=2,
    )
    return after


def noise(state: Array) -> Array:
    """Variance (n, 4) of a measurement of these."""
    variance: Array = (_sizes(state[:, 2:, PLACE]) * OFF) ** 2
    return variance


def _sizes(sides: Array) -> Array:
    """(n, 1) the longer side of each, at least a hundredth of the picture."""
    longer: Array = np.maximum(sides.max(axis=1, keepdims=True, initial=0.0), 0.01)
    return longer
