"""Whether a thing is still where it was put: its picture is compared with what is at that place now.

A detector may miss a bag for minutes, mostly once nobody stands beside it; its place in the picture does not change.
Correlation does not care for more or less light, and the search over a few px forgives a camera that shakes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from gateway import Box

    Grey = npt.NDArray[np.uint8]  # (h, w)

SIZE, SEARCH = 32, 2  # px a place is scaled to, and how far in it the thing is looked for
MARGIN = 0.12  # of the box's sides: the outline tells more than the inside of a black bag
FLAT = 4.0  # grey levels of deviation; below that there is nothing to correlate, and levels are compared
FADE = 0.15  # share of a new picture in the remembered one, where they are alike


class Template:
    """The picture of one thing in its place."""

    def __init__(self, picture: Grey, box: Box) -> None:
        self._inner = _inner(cut(picture, box)).astype(np.float32)

    def match(self, picture: Grey, box: Box, *, learn: bool = False) -> float:
        """How like the place in `picture` is, -1 to 1; `learn` follows slow changes where it is alike."""
        now = cut(picture, box)
        inner = self._inner
        if float(inner.std()) < FLAT:
            off = abs(float(now.mean()) - float(inner.mean())) + abs(float(now.std()) - float(inner.std()))
            return max(-1.0, 1 - off / 20)
        result = cv2.matchTemplate(now.astype(np.float32), inner, cv2.TM_CCOEFF_NORMED)
        best = float(result.max())
        if not math.isfinite(best):
            return 0.0  # a place without any contrast
        if learn and best > 0.7:
            self._inner = inner * (1 - FADE) + _inner(now) * FADE
        return best


def cut(picture: Grey, box: Box) -> Grey:
    """The place of a box, its margins included, as a square of SIZE px and SEARCH px around it."""
    height, width = picture.shape
    pad = MARGIN + (1 + 2 * MARGIN) * SEARCH / SIZE
    x1, x2 = (box.x1 - pad * box.width) * width, (box.x2 + pad * box.width) * width
    y1, y2 = (box.y1 - pad * box.height) * height, (box.y2 + pad * box.height) * height
    left, top = max(0, math.floor(x1)), max(0, math.floor(y1))
    part = picture[top : max(math.ceil(y2), top + 2), left : max(math.ceil(x2), left + 2)]
    side = SIZE + 2 * SEARCH
    scaled = cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(scaled, (3, 3), 0)  # type: ignore[return-value]


def _inner(square: Grey) -> npt.NDArray[np.float32]:
    return square[SEARCH:-SEARCH, SEARCH:-SEARCH].astype(np.float32)
