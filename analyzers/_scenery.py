"""Scenery: what the picture itself says about a place where the detector sees nobody.

Detectors are trained on people who stand; those who lie on the floor they often miss. Here a slow picture of the scene
without its people shows what stands out now (a silhouette), and pictures of the last seconds show whether a place has
changed. All of it is small, grey and told by time: looks are `STEP_S` apart at any frame rate.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from analyzers._bodies import Body
from analyzers._templates import Template
from gateway import Box

if TYPE_CHECKING:
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]  # (h, w, 3) BGR
    Grey = npt.NDArray[np.uint8]  # (h, w)
    Levels = npt.NDArray[np.float32]
    Mask = npt.NDArray[np.bool_]

SIDE = 320  # px of the longer side; motion looks at the same picture, so it is decoded once
STEP_S = 0.19  # 5 looks a second say where somebody lies
KEPT_S = 2.6  # pictures of this long ago are kept: a fall, and a moment before it
ROOTS = np.round(np.sqrt(np.arange(256) * 255.0)).astype(np.uint8)  # noise and contrast alike in light and dark
STANDS_OUT = 12.0  # square-root levels: grey 30 against 42, 150 against 170
KNOWN_S = 1.0  # seen without a person for so long, a pixel is scenery
LEARN_S = 20.0  # in which scenery follows the light, and takes in a chair that was moved
NEW_LIGHT = 0.5  # more of the scenery standing out at once: another light or view, so it is learned anew
LEAST_PART = 0.06  # of the area of the person who stood there: smaller regions are noise
CHANGED = 0.75  # correlation of a place with itself earlier, below which something has changed there


@dataclass(slots=True)
class _Ground:
    """The scene without its people: levels, and for how many s each pixel was seen so."""

    slow: Levels
    known_s: Levels


class Scenery:
    """Of one session. `look` at a frame, then ask."""

    def __init__(self) -> None:
        self._past: deque[tuple[float, Grey]] = deque()
        self._ground: _Ground | None = None
        self._out: Mask | None = None
        self.at: float | None = None

    def due(self, at: float) -> bool:
        """Whether it is time for the next look."""
        return self.at is None or not 0 <= at - self.at < STEP_S

    def cut(self) -> None:
        """Forget everything: another scene begins."""
        self._past.clear()
        self._ground = self._out = self.at = None

    def look(self, picture: Pixels, at: float, people: Iterable[Box]) -> None:
        """Take a picture with these people in it."""
        grey: Grey = cv2.LUT(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), ROOTS)  # type: ignore[assignment]
        if self._past and self._past[-1][1].shape != grey.shape:
            self.cut()
        step = 0.0 if self.at is None else min(1.0, max(0.0, at - self.at))
        self.at = at
        self._past.append((at, grey))
        while len(self._past) > 1 and (at - self._past[0][0] > KEPT_S or at < self._past[0][0]):
            self._past.popleft()
        self._learn(cv2.GaussianBlur(grey, (3, 3), 0).astype(np.float32), step, _covered(grey.shape, people))

    def _learn(self, now: Levels, step: float, covered: Mask) -> None:
        ground = self._ground
        if ground is None:
            ground = self._ground = _Ground(now.copy(), np.zeros_like(now))
        known = ground.known_s >= KNOWN_S
        free = known & ~covered
        offset = float(np.median((now - ground.slow)[free])) if free.any() else 0.0
        out = known & (np.abs(now - ground.slow - offset) > STANDS_OUT)
        if free.any() and float(out[free].mean()) > NEW_LIGHT:
            self._ground, self._out = None, None
            return
        self._out = out
        share = np.where(known, 1 - math.exp(-step / LEARN_S), 0.5).astype(np.float32)
        ground.slow += np.where(covered, np.float32(0), share * (now - ground.slow))
        ground.known_s += np.where(covered, np.float32(0), np.float32(step))
        np.minimum(ground.known_s, 2 * KNOWN_S, out=ground.known_s)

    # --- answers -----------------------------------------------------------------------------------------------------

    def template(self, box: Box) -> Template:
        """The place as it is now. There must have been a look."""
        return Template(self._past[-1][1], box)

    def match(self, template: Template, box: Box) -> float:
        """How like it the place is now, -1 to 1; slow changes are followed."""
        return template.match(self._past[-1][1], box, learn=True)

    def changed(self, box: Box, since: float) -> bool:
        """Whether the place looks otherwise than it did at `since`, or at the first picture kept."""
        if not self._past:
            return False
        before = next((grey for at, grey in reversed(self._past) if at <= since), self._past[0][1])
        return Template(before, box).match(self._past[-1][1], box) < CHANGED

    def silhouette(self, around: Body, size: float, aspect: float) -> Body | None:
        """What stands out of the scenery in a region, as one body; None if it is less than someone of `size`.

        `size` is the area of the person who was there, in squared heights of the picture.
        """
        if self._out is None or self.at is None:
            return None
        height, width = self._out.shape
        x1, y1, x2, y2 = around.box(aspect).to_pixels(width, height)
        part = self._out[y1:y2, x1:x2].astype(np.uint8)
        if part.size == 0:
            return None
        mask = _solid(part, LEAST_PART * size * height * height)
        if mask is None or float(mask.sum()) < 0.2 * size * height * height:
            return None
        columns, rows = np.nonzero(mask.any(axis=0))[0], np.nonzero(mask.any(axis=1))[0]
        left, right = x1 + int(columns[0]), x1 + int(columns[-1]) + 1
        top, foot = y1 + int(rows[0]), y1 + int(rows[-1]) + 1
        middle, wide = (left + right) / 2 / height, (right - left) / height
        return Body(self.at, middle, top / height, foot / height, wide, 0.2)


def _covered(shape: tuple[int, ...], people: Iterable[Box]) -> Mask:
    """Where people are, a little more."""
    height, width = shape[:2]
    covered = np.zeros((height, width), np.bool_)
    for box in people:
        dx, dy = 0.15 * box.width, 0.1 * box.height
        x1, y1, x2, y2 = Box.clipped(box.x1 - dx, box.y1 - dy, box.x2 + dx, box.y2 + dy).to_pixels(width, height)
        covered[y1:y2, x1:x2] = True
    return covered


def _solid(part: npt.NDArray[np.uint8], least: float) -> Mask | None:
    """The regions of at least `least` px, gaps of a few px closed."""
    joined = cv2.morphologyEx(part, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    count, marks, stats, _ = cv2.connectedComponentsWithStats(joined)
    large = [index for index in range(1, count) if stats[index, cv2.CC_STAT_AREA] >= max(least, 6)]
    return np.isin(marks, large) if large else None
