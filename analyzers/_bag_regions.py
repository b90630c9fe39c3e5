"""What a changed region of a picture is: a thing that has come, a place a thing has gone from, or only other light.

All levels are square roots of grey (see `analyzers._bag_background`), so light changes them by a factor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]  # (h, w, 3) BGR
    Levels = npt.NDArray[np.float32]
    Mask = npt.NDArray[np.bool_]

FLAT = 3.0  # levels of deviation; below that there is no texture to compare
SAME_TEXTURE = 0.8  # correlation of a region with itself in another light; JPEG leaves no more
SHADOW = (0.68, 1.45)  # square roots of light: a shadow leaves half of it, a lamp doubles it
SAME_TINT = 0.01  # of the three channels' shares of the light; of bags 0.02 to 0.06
EVEN = 0.065  # deviation of the factor within a shadow: 0.02, with a wide soft edge 0.05; of bags 0.08 to 0.15
LEAST_EDGE = 5.0  # levels per px: outlines of things have 10 and more, of reflections and soft shadows 1 to 4
BINS = 16  # of the histograms that tell inside from outside


def kind_of(now: Pixels, before: Pixels, part: Mask) -> str:
    """`object`, `ghost` or `light`, for a region `part` of two cut-outs with some px of surroundings."""
    if _is_light(now[part].astype(np.float32), before[part].astype(np.float32)):
        return "light"
    size = np.ones((3, 3), np.uint8)
    grown = cv2.dilate(part.view(np.uint8), size, iterations=3).view(np.bool_)
    edge = cv2.dilate(part.view(np.uint8), size).view(np.bool_)
    edge &= ~cv2.erode(part.view(np.uint8), size).view(np.bool_)
    if max(float(_steepest(picture)[edge].mean()) for picture in (now, before)) < LEAST_EDGE:
        return "light"
    weights = [_outlined(picture, part, grown & ~part, edge) for picture in (now, before)]
    return "ghost" if weights[0] < 0.7 * weights[1] else "object"


def _outlined(picture: Pixels, inside: Mask, outside: Mask, edge: Mask) -> float:
    """How much a region stands out in a picture: by the steepness of its outline and by being of other colours."""
    contour = float(_steepest(picture)[edge].mean())
    apart = 0.0
    for channel in range(3):
        first, second = (np.bincount(picture[..., channel][mask] >> 4, minlength=BINS) for mask in (inside, outside))
        apart += float(np.abs(first / max(first.sum(), 1) - second / max(second.sum(), 1)).sum()) / 6
    return (contour + 2) * (apart + 0.1)


def _is_light(now: Levels, before: Levels) -> bool:
    """Whether pixels (n, 3) of a region are the same things in another light: all darker or lighter by one factor.

    A shadow takes up to half of the light and leaves the colour; a black bag takes more. A thing has other patches than
    what it hides, so the factor differs from px to px, unless it is as plain and grey as the floor: such things are
    missed, for the detector to find. A shadow with uneven edges still shows the texture of what it falls on.
    """
    factors = ((now + 4) / (before + 4)).mean(axis=1)
    if not SHADOW[0] < float(np.median(factors)) < SHADOW[1]:
        return False
    shares = [np.median(part / (part.sum(axis=1, keepdims=True) + 1), axis=0) for part in (now, before)]
    tint = float(np.abs(shares[0] - shares[1]).max())
    if tint < SAME_TINT and float(factors.std()) < EVEN:
        return True
    grey, grey_before = now.mean(axis=1), before.mean(axis=1)
    textured = grey.std() > FLAT and grey_before.std() > FLAT
    return bool(textured and tint < 2 * SAME_TINT and np.corrcoef(grey, grey_before)[0, 1] > SAME_TEXTURE)


def _steepest(picture: Pixels) -> Levels:
    """Of the three channels: a thing may be as light as the floor, but of another colour."""
    blue, green, red = (steepness(picture[..., channel]) for channel in range(3))
    return np.maximum(np.maximum(blue, green), red)


def steepness(grey: npt.NDArray[np.uint8]) -> Levels:
    """Levels per px, the larger of both directions."""
    gradient = cv2.morphologyEx(np.ascontiguousarray(grey), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return gradient.astype(np.float32) / np.float32(2)
