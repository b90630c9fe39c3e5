"""Quality: how much a look at a face is worth for telling whose it is, and what is wrong with it.

From the aligned face and the five points alone: how large it was, how sharp it is, how far it is turned away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from analyzers._face_align import Points
    from analyzers._letterbox import Pixels

# Sharpness (see `_sharpness`) of faces of 34 pictures 7-58, of a singer at 640x360 13-57, the same blurred with a
# Gaussian of 1.5 px 5-21; of people out of focus behind him 1-6. Turn of frontal faces -0.3 to 0.3, length 0.8-1.3;
# three-quarter 1.3-1.8; profiles -1 and further, 2 and longer.
SHARP, BLURRED_BELOW = 20.0, 6.0
TURNED, TURNED_ABOVE = 0.25, 0.45
LONG, LONG_ABOVE = 1.25, 1.6
LARGE_PX = 80.0  # of width, from which more pixels help no more: the network sees 112 of the whole face
LEAST_PX = 16.0  # nothing can be told from fewer

INNER = (slice(16, 100), slice(20, 92))  # of an aligned face: without hair and background
NOISE = 25.0  # grey levels squared; what a sensor adds to a flat surface is not detail


@dataclass(frozen=True, slots=True)
class Quality:
    """A look at a face: width in px, sharpness (0 up, 20 is sharp), turn to a side (0 frontal), length (1 frontal)."""

    width_px: float
    sharpness: float
    turn: float
    length: float

    @property
    def score(self) -> float:
        """0-1; the product of how large, how sharp and how frontal."""
        size = _part(self.width_px, LEAST_PX, LARGE_PX)
        sharp = _part(self.sharpness, 0.0, SHARP)
        return size * sharp * self.frontal

    @property
    def frontal(self) -> float:
        """0-1; 0 in profile."""
        return _part(-abs(self.turn), -0.8, -TURNED) * _part(-self.length, -2.0, -LONG)

    def reasons(self, least_px: float) -> dict[str, str]:
        """Why not to enrol this face, by word; nothing if it may be."""
        found = {}
        if self.width_px < least_px:
            found["too small"] = f"{self.width_px:.0f} px wide, {least_px:.0f} are needed"
        if self.sharpness < BLURRED_BELOW:
            found["blurred"] = f"sharpness {self.sharpness:.1f}, {BLURRED_BELOW:.0f} are needed"
        if abs(self.turn) > TURNED_ABOVE or self.length > LONG_ABOVE:
            found["turned away"] = f"turned by {abs(self.turn):.2f} eye distances, seen {self.length:.2f} times as long"
        return found


def judge(crop: Pixels, points: Points, width_px: float) -> Quality:
    """What a look is worth: the aligned face, its points and its width in px of the frame."""
    return Quality(width_px, _sharpness(crop), *_pose(points))


def _sharpness(crop: Pixels) -> float:
    """Variance of the Laplacian by the variance of the grey values, in thousandths: light cancels out."""
    grey = cv2.cvtColor(crop[INNER], cv2.COLOR_BGR2GRAY).astype(np.float32)
    edges = cv2.Laplacian(cv2.GaussianBlur(grey, (0, 0), 1.0), cv2.CV_32F)
    return float(1000 * edges.var() / (grey.var() + NOISE))


def _pose(points: Points) -> tuple[float, float]:
    """How far the nose is off the line between eyes and mouth, and how far these are apart; in eye distances."""
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    across = points[1] - points[0]
    distance = max(float(np.hypot(*across)), 1e-6)
    along = across / distance
    down = np.array([-along[1], along[0]])
    nose, axis = (points[2] - eyes) / distance, (mouth - eyes) / distance
    return float(nose @ along - axis @ along / 2), abs(float(axis @ down))


def _part(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))
