"""What somebody looks like, well enough to tell whether who comes back is he: the colours of his clothes.

Histograms over Lab above and below the waist. They survive a turn, a change of scale and a poor picture; two men in
black suits are alike to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from gateway import Box

    Look = npt.NDArray[np.float32]  # (2, COLOURS) shares above and below the waist
    Pixels = npt.NDArray[np.uint8]

COLOURS = 1024
MOST_LOOKS = 8  # different ones of a person that are kept
BRIGHT, MOST_GAIN = 190.0, 4.0  # level that a tenth of the picture is brought to at least, and by how much at most
NEW_LOOK = 0.85  # likeness to all looks known, below which this is another one


def colour_index(picture: Pixels) -> npt.NDArray[np.int16]:
    """(h, w) a number 0-1023 for the colour of each px: 4 steps of lightness, 16 of each of the two axes of Lab."""
    lightness, a, b = cv2.split(cv2.cvtColor(_exposed(picture), cv2.COLOR_BGR2LAB))
    first, second = (np.clip((axis.astype(np.int16) - 96) >> 2, 0, 15) for axis in (a, b))
    index: npt.NDArray[np.int16] = (lightness.astype(np.int16) >> 6) * 256 + first * 16 + second
    return index


def _exposed(picture: Pixels) -> Pixels:
    """The picture with its bright parts bright: in the dark all colours are alike."""
    bright = float(np.percentile(picture[::4, ::4, 1], 90))
    gain = min(max(BRIGHT / max(bright, 1.0), 1.0), MOST_GAIN)
    return cv2.convertScaleAbs(picture, alpha=gain) if gain > 1.1 else picture  # type: ignore[return-value]


def look_of(colours: npt.NDArray[np.int16], person: Box) -> Look | None:
    """The colours above and below the waist, of the middle of the box; None where there is too little to see.

    Colours that there are beside the person as well count less: they are mostly what is behind him.
    """
    side = 0.4 * person.width
    rows = []
    for top, bottom in ((0.15, 0.5), (0.5, 0.92)):
        y1, y2 = person.y1 + top * person.height, person.y1 + bottom * person.height
        inside = _counts(colours, (person.x1 + 0.15 * person.width, y1, person.x2 - 0.15 * person.width, y2))
        around = _counts(colours, (person.x1 - side, y1, person.x1, y2))
        around += _counts(colours, (person.x2, y1, person.x2 + side, y2))
        if inside.sum() < 12:
            return None
        shares = inside / inside.sum()
        weighed = shares * shares / np.maximum(shares + around / max(float(around.sum()), 1.0), 1e-6)
        rows.append(_smooth(weighed))
    return np.stack(rows)


def _counts(colours: npt.NDArray[np.int16], part: tuple[float, float, float, float]) -> npt.NDArray[np.float32]:
    height, width = colours.shape
    x1, y1, x2, y2 = (min(1.0, max(0.0, value)) for value in part)
    pixels = colours[int(y1 * height) : int(y2 * height) + 1, int(x1 * width) : int(x2 * width) + 1]
    return np.bincount(pixels.ravel(), minlength=COLOURS).astype(np.float32)


def _smooth(shares: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Each spread over its neighbours, so that a shade on the border of two bins is not two colours."""
    cube = np.pad(shares.reshape(4, 16, 16), 1)
    for axis in range(3):
        cube = 0.5 * cube + 0.25 * (np.roll(cube, 1, axis) + np.roll(cube, -1, axis))
    inner: npt.NDArray[np.float32] = cube[1:-1, 1:-1, 1:-1].ravel().astype(np.float32)
    return inner / max(float(inner.sum()), 1e-6)


def likeness(looks: Sequence[Look], others: Sequence[Look]) -> float:
    """How like two persons look, 0-1; 0 if one is unknown: the looks of who has fewer, each with the one most like it.

    Of two looks: the Bhattacharyya coefficient of their colours.
    """
    fewer, more = sorted((looks, others), key=len)
    if not fewer:
        return 0.0
    return sum(max(_alike(one, other) for other in more) for one in fewer) / len(fewer)


def _alike(one: Look, other: Look) -> float:
    above, below = np.sqrt(one * other).sum(axis=1).tolist()
    return float(0.6 * above + 0.4 * below)


def remember(looks: list[Look], look: Look) -> None:
    """Keep a look that is unlike those known; the first ones stay."""
    if not looks or max(_alike(one, look) for one in looks) < NEW_LOOK:
        looks.append(look)
        del looks[MOST_LOOKS // 2 : -MOST_LOOKS // 2]
