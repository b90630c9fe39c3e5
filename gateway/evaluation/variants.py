"""Variants: the same clip as another camera, another light or another encoder would have delivered it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from gateway.commands.sources import QUALITY
from gateway.results import Box

if TYPE_CHECKING:
    from gateway.frame import Pixels

BEFORE_S = 20.0  # of another clip
BLUR = 1 / 240  # Gaussian sigma as a share of the lines: 2 px at 480, a lens a little out of focus
DRIFT, DRIFT_S = 0.2, 30.0  # clouds: the gain swings by this share, in this period


@dataclass(frozen=True, slots=True)
class Variant:
    """`fps`: thinned, or frames repeated, to this rate; None: the clip's own. `lines`: scaled to this height, aspect
    kept. `gain` and `gamma` act on values 0-1. `before`: s of another clip in front."""

    name: str
    title: str
    mirrored: bool = False
    scale: float = 1.0
    lines: int | None = None
    fps: float | None = None
    gain: float = 1.0
    gamma: float = 1.0
    drift: bool = False
    quality: int = QUALITY
    blurred: bool = False
    before: float = 0.0

    def apply(self, picture: Pixels, at: float) -> Pixels:
        """One picture of the clip, taken at `at` s, as this variant has it."""
        height, width = picture.shape[:2]
        factor = self.lines / height if self.lines else self.scale
        if factor != 1.0:
            way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
            picture = cv2.resize(picture, (_even(width * factor), _even(height * factor)), interpolation=way)  # type: ignore[assignment]
        if self.blurred:
            picture = cv2.GaussianBlur(picture, (0, 0), picture.shape[0] * BLUR)  # type: ignore[assignment]
        if self.mirrored:
            picture = np.ascontiguousarray(picture[:, ::-1])
        return self._lit(picture, at)

    def _lit(self, picture: Pixels, at: float) -> Pixels:
        gain = self.gain * (1 + DRIFT * math.sin(2 * math.pi * at / DRIFT_S) if self.drift else 1.0)
        if gain == 1.0 and self.gamma == 1.0:
            return picture
        levels = np.clip(gain * (np.arange(256) / 255) ** self.gamma, 0, 1) * 255
        return cv2.LUT(picture, levels.round().astype(np.uint8))  # type: ignore[return-value]

    def box_in_clip(self, box: Box) -> Box:
        """A box found in this variant, in the clip's own coordinates."""
        return Box(1 - box.x2, box.y1, 1 - box.x1, box.y2) if self.mirrored else box


def _even(size: float) -> int:
    return max(2, 2 * round(size / 2))


ORIGINAL = Variant("original", "as it is")
VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        ORIGINAL,
        Variant("mirrored", "left and right exchanged", mirrored=True),
        Variant("half", "half the width and height", scale=0.5),
        Variant("5fps", "5 frames a second", fps=5),
        Variant("before", f"{BEFORE_S:g} s of another clip before it", before=BEFORE_S),
        Variant("25fps", "25 frames a second; frames of slower clips are repeated", fps=25),
        Variant("dark", "gain 0.6, gamma 1.3", gain=0.6, gamma=1.3),
        Variant("bright", "gain 1.25, gamma 0.75", gain=1.25, gamma=0.75),
        Variant("clouds", f"the gain swings by {DRIFT:.0%} in {DRIFT_S:g} s", drift=True),
        Variant("jpeg30", "JPEG quality 30", quality=30),
        Variant("1080", "scaled to 1080 lines", lines=1080),
        Variant("320", "scaled to 320 lines", lines=320),
        Variant("blurred", "Gaussian blur of 2 px at 480 lines", blurred=True),
    )
}
CORE = ("original", "mirrored", "half", "5fps", "before")
QUICK = Variant("quick", "as it is, at 5 frames a second", fps=5)


def chosen(text: str) -> list[Variant]:
    """`core`, `all`, or names separated by commas. Raises `ValueError`."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    return list(dict.fromkeys(variant for word in words for variant in _named(word)))


def _named(word: str) -> Iterator[Variant]:
    if word == "all":
        yield from VARIANTS.values()
    elif word == "core":
        yield from (VARIANTS[name] for name in CORE)
    elif word in VARIANTS:
        yield VARIANTS[word]
    else:
        raise ValueError(f"there is no variant {word}; there are core, all, {', '.join(VARIANTS)}")
