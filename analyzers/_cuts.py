"""Cuts: whether a picture shows another scene than the one before it, as films and switched cameras do.

Boxes of one scene that lie where boxes of the next one do look like the same persons to every tracker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from gateway import Frame

SIDE = 64  # px; small enough that a walker changes little
# Correlation of two pictures in a row: cuts of a film 0.02-0.19, its pans at 5 a second 0.34 and more, still cameras at
# 2 a second 0.5 and more. A light that is switched on changes brightness and contrast, which it does not see.
SAME_SCENE = 0.25


@dataclass(slots=True)
class Scene:
    """The scene of one session."""

    _before: Any = None  # (h, w) grey, without its mean

    def changed(self, frame: Frame) -> bool:
        """Whether this frame begins another scene."""
        grey = cv2.cvtColor(frame.scaled(SIDE), cv2.COLOR_BGR2GRAY).astype(np.float32)
        grey -= grey.mean()
        before, self._before = self._before, grey
        if before is None:
            return False
        if before.shape != grey.shape:
            return True
        return float((before * grey).sum()) < SAME_SCENE * float(np.sqrt((before**2).sum() * (grey**2).sum()))
