"""Tampering: somebody has covered, turned or smeared the camera, or it is dark.

The picture is compared with a slow reference of itself, in square-root levels and by its edges, so that more or less
light makes no difference. The reference is a field of gradients averaged over time, from which passers-by vanish; it
is compared block by block, so that somebody who stands near and covers half of the picture leaves the other half to
prove that the camera is where it was. A view must have been steady for `LEARN_S` before anything can be said about it,
and a new one is taken for granted after as long; a camera held in the hand never is, so it is never said to be moved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from analyzers._dwell import Held

if TYPE_CHECKING:
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]  # (h, w, 3) BGR
    Levels = npt.NDArray[np.float32]

Kind = Literal["covered", "moved", "blurred", "dark", "frozen"]

SIDE, COARSE = 320, 4  # px of the longer side looked at, and how much smaller a picture shows only what is large
ROWS, COLUMNS = 6, 8  # blocks; passers-by fill some, a turned camera changes all
LEARN_S = 10.0  # a film's shots are shorter; a camera on a wall stands for years
FOLLOW_S = 60.0  # in which the reference follows the sun
TEXTURE = 2.0  # levels per px, root mean square: below, a block is noise and compression
LEAST_BLOCKS = 8  # of 48 with texture: a bare wall looks alike wherever the camera points
SAME = 0.5  # correlation of a block's edges with the reference; unrelated ones have 0 +- 0.15
STEADY = 0.7  # share of blocks that are the same while a view is learned; passers-by take the rest
HERE, AWAY = 0.5, 0.25  # shares of blocks that are the same: the view is the one known; it is another
DRIFT = 0.06  # of the picture's size; wind, a nudge or a zoom that settles shift it by so much, turning it by more
FLAT = 0.35  # of the reference's edges are left: something is before the lens
SOFT = 0.45  # of the fine edges is left: sigma 2 to 3 px of 320, so 8 to 12 of 1280; rain and breath make less
SHARP = 0.08  # fine edges that a view must have before it can lose them
DARK, LIT = 45.0, 80.0  # square-root levels (grey 8 and 25): night without a lamp, and what was no night before
GAP_S = 5.0  # without a picture for longer, time does not count


@dataclass(slots=True)
class _Look:
    """One picture: gradients (2, h, w) in the small one, edges in it, and how much finer ones there are."""

    edges: Levels
    strength: float  # mean of the small picture's edges, levels per px
    fine: float  # mean of the large picture's edges by that, less what they would be if nothing fine were there
    level: float  # mean
    small: Levels


@dataclass(slots=True)
class _View:
    """A view as it usually is."""

    edges: Levels
    strength: float
    fine: float
    level: float
    small: Levels
    seen_s: float = 0.0

    def learn(self, look: _Look, step: float) -> None:
        share = 1 - math.exp(-step / FOLLOW_S) if self.seen_s >= LEARN_S else step / (self.seen_s + step or 1.0)
        self.edges += np.float32(share) * (look.edges - self.edges)
        self.small += np.float32(share) * (look.small - self.small)
        for name in ("strength", "fine", "level"):
            setattr(self, name, getattr(self, name) + share * (getattr(look, name) - getattr(self, name)))
        self.seen_s += step

    @property
    def known(self) -> bool:
        return self.seen_s >= LEARN_S


@dataclass(frozen=True, slots=True)
class Tampered:
    """`same`: share of blocks that show what they used to. `shift`: of the view in the picture, 0-1 of its size."""

    kind: Kind
    since: float
    same: float
    shift: tuple[float, float] | None = None


@dataclass(slots=True)
class Tamper:
    """The rule, for one session. Conditions must hold for `hold_s`; `frozen_s` 0: pictures may stay the same."""

    hold_s: float
    frozen_s: float = 0.0
    _view: _View | None = None
    _next: _View | None = None  # the view that may become the known one
    _held: Held = field(default_factory=lambda: Held(slack_s=0.5))
    _kind: Kind | None = None
    _still: Held = field(default_factory=lambda: Held(slack_s=0.0))
    _before: Pixels | None = None
    _at: float | None = None

    def step(self, picture: Pixels, at: float) -> Tampered | None:
        """What is wrong with this picture, while it is."""
        step = 0.0 if self._at is None or not 0 <= at - self._at <= GAP_S else at - self._at
        self._at = at
        still_s = self._frozen(picture, at)
        look = _look(picture)
        if self._view is None or self._view.edges.shape != look.edges.shape:
            self._view, self._next = _begin(look), None
            return None
        same, shift = _compared(self._view, look)
        kind = _kind(self._view, look, same) if self._view.known else None
        self._learn(look, same, step, kind)
        held_s = self._held.update(kind is not None, at)
        self._kind = kind or self._kind
        if kind is not None and held_s >= self.hold_s:
            return Tampered(kind, at - held_s, same or 0.0, shift if kind == "moved" else None)
        if self.frozen_s and still_s >= self.frozen_s:
            return Tampered("frozen", at - still_s, same or 0.0)
        return None

    def _frozen(self, picture: Pixels, at: float) -> float:
        """Since how long the same picture has come; a sensor's noise makes that impossible."""
        if not self.frozen_s:
            return 0.0
        same = self._before is not None and np.array_equal(picture, self._before)
        self._before = picture
        return self._still.update(same, at)

    def _learn(self, look: _Look, same: float | None, step: float, kind: Kind | None) -> None:
        """Follow the known view, or get to know the one there is now."""
        view = self._view
        if view is None or kind in ("dark", "covered"):
            self._next = None
            return
        enough = HERE if view.known else STEADY
        if kind is None and (same is None or same >= enough):
            view.learn(look, step)
            self._next = None
            return
        there = _same(self._next.edges, look.edges) if self._next else None
        if self._next is None or (there is not None and there < STEADY):
            self._next = _begin(look)
        else:
            self._next.learn(look, step)
        if not view.known or self._next.known:
            self._view, self._next = self._next, None


def _look(picture: Pixels) -> _Look:
    large = np.sqrt(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float32) * np.float32(255))
    size = max(COLUMNS * 4, large.shape[1] // COARSE), max(ROWS * 4, large.shape[0] // COARSE)
    small: Levels = cv2.resize(large, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    edges = _gradients(small)
    strength = float(np.sqrt((edges**2).sum(axis=0)).mean())
    fine = float(np.sqrt((_gradients(large) ** 2).sum(axis=0)).mean())
    return _Look(edges, strength, fine / max(strength, 0.1) - 1 / COARSE, float(small.mean()), small)


def _gradients(levels: Levels) -> Levels:
    """(2, h, w), levels per px to the right and downwards."""
    across = cv2.Sobel(levels, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    down = cv2.Sobel(levels, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    return np.stack([across, down]).astype(np.float32)


def _begin(look: _Look) -> _View:
    return _View(look.edges.copy(), look.strength, look.fine, look.level, look.small.copy())


def _blocks(values: Levels) -> Levels:
    """(ROWS, COLUMNS) sums."""
    height, width = values.shape[0] // ROWS * ROWS, values.shape[1] // COLUMNS * COLUMNS
    parts = values[:height, :width].reshape(ROWS, height // ROWS, COLUMNS, width // COLUMNS)
    sums: Levels = parts.sum(axis=(1, 3))
    return sums


def _same(known: Levels, now: Levels) -> float | None:
    """Share of the blocks with texture whose edges are where they were; None if there are too few to say."""
    before, after = _blocks((known**2).sum(axis=0)), _blocks((now**2).sum(axis=0))
    common = _blocks((known * now).sum(axis=0))
    pixels = (known.shape[1] // ROWS) * (known.shape[2] // COLUMNS)
    textured = before > TEXTURE**2 * pixels
    if int(textured.sum()) < LEAST_BLOCKS:
        return None
    alike = common > SAME * np.sqrt(before * after)
    return float((alike & textured).sum() / textured.sum())


def _compared(view: _View, look: _Look) -> tuple[float | None, tuple[float, float] | None]:
    """Share of blocks that are the same, a small drift forgiven; and how far the picture has gone, if it has."""
    same = _same(view.edges, look.edges)
    if same is None or same >= HERE:
        return same, None
    shift = _shift(view.small, look.small)
    if shift is None or max(map(abs, shift)) > DRIFT:
        return same, shift
    across, down = round(shift[0] * look.small.shape[1]), round(shift[1] * look.small.shape[0])
    there = _same(np.roll(view.edges, (down, across), axis=(1, 2)), look.edges)
    return max(same, there or 0.0), shift


def _kind(view: _View, look: _Look, same: float | None) -> Kind | None:
    """What is wrong, as far as this one picture tells."""
    if look.level < DARK and view.level > LIT:
        return "dark"
    if same is None:
        return None
    left = look.strength / max(view.strength, 0.1)
    if same < AWAY:
        return "covered" if left < FLAT else "moved"
    if view.fine > SHARP and look.fine < SOFT * view.fine:
        return "blurred"
    return None


def _shift(known: Levels, now: Levels) -> tuple[float, float] | None:
    """How far the view has gone to the right and down in the picture, where that can be told."""
    window = cv2.createHanningWindow(known.shape[1::-1], cv2.CV_32F)
    (dx, dy), response = cv2.phaseCorrelate(known, now, window)
    if response < 0.1:
        return None
    return round(dx / known.shape[1], 3), round(dy / known.shape[0], 3)
