"""What stands where nothing stood before: a background model that finds still new things without knowing what they are.

Two rates, as in dual foregrounds (Porikli 2007), but with times instead of rates: the slow picture is the scene as it
has been, the quick one is what was last seen at each pixel and since when. What differs from the slow picture and has
not changed for a while stands still. Pixels that a person covers take no part until he has gone: neither picture
learns them, no time runs for them. All times are seconds of the session's clock, so the frame rate has no say.

Light: levels are square roots, so that noise and contrast mean the same in the dark as in the sun. Each frame is
brought into the light of the slow picture first (gain and offset per channel, fitted to the pixels that agree best).
What is left, shadows and lamps that light one corner, is judged region by region in `analyzers._bag_regions`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from analyzers._bag_regions import kind_of, steepness
from gateway import Box

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]  # (h, w, 3) BGR
    Grey = npt.NDArray[np.uint8]  # (h, w)
    Levels = npt.NDArray[np.float32]
    Mask = npt.NDArray[np.bool_]

SIDE = 320  # px of the longer side; a briefcase at the far end of a hall is still some 10 px wide
ROOTS = np.round(np.sqrt(np.arange(256) * 255.0)).astype(np.uint8)

# In square-root levels: at 12, grey 30 differs from 42 and grey 150 from 170.
SURE, PERHAPS = 14.0, 8.0  # a region of changes needs some of the former, and reaches as far as the latter
NOISE = 3.0  # sigma of the noise that are no change
SHAKE_PX = 0.5  # how far edges may jitter (a camera on a pole, block edges) without being a change
KNOWN_S = 1.0  # still for so long, a pixel never seen before is background
STILL_S = 1.5  # and a changed one stands still; a person rarely keeps an arm so still
LEARN_S = 20.0  # in which the slow picture follows the light; clouds take longer, a bag is never learned
GIVE_UP_S = 45.0  # something still for so long that is nobody's bag has become part of the scene
GAIN = (0.4, 2.5)  # changes of exposure beyond this are a new scene
LIKENESS = 0.3  # median correlation with the picture before, below which it is another scene
FLAT = 3.0  # levels of deviation; below that there is no texture to compare
SOLID = 0.35  # least share of its box that a thing fills; edges of a moved camera and cables fill less
MOST_HIDDEN = 0.35  # of the surroundings of a region may be hidden by persons, or where it ends is not known
MOST_BLOBS = 16  # at once; where more seem to have come, the camera has moved


class Blob(NamedTuple):
    """A region that differs from the background and stands still. Times in s."""

    box: Box
    since: float  # seen like this since
    clean_at: float  # last seen without it; -inf: never
    kind: str  # "object", or "ghost" (something has gone from here), or "light"


class Change(NamedTuple):
    """Shares, 0-1."""

    known: float  # of a place: in sight now, and known from before
    inside: float  # of what is known of the place: differs
    around: float  # of what is known of its surroundings, half its size wide: differs


@dataclass(slots=True)
class _Scene:
    """Per pixel: the slow picture, the quick one, and three times."""

    slow: Levels  # (h, w, 3)
    quick: Pixels
    known: Mask  # the slow picture is worth something here
    known_at: Levels  # since when
    since: Levels  # the quick picture has not changed since
    clean_at: Levels  # last time it was like the slow picture


class Background:
    """The model of one session; `look` at frames some 0.2 s apart, then ask."""

    def __init__(self) -> None:
        self._scene: _Scene | None = None
        self._now: Pixels = np.zeros((0, 0, 3), np.uint8)
        self._before = self._now  # the slow picture in the light of now
        self._small: Levels = np.zeros((0, 0), np.float32)
        self._sure: Mask = np.zeros((0, 0), np.bool_)
        self._changed = self._sure
        self._covered = self._sure
        self._at = 0.0
        self.began_at = 0.0  # when the scene did

    def look(self, picture: Pixels, at: float, persons: Iterable[Box]) -> bool:
        """Take a picture of time `at` with these persons in it; whether it shows another scene than the one before."""
        seen: Pixels = cv2.LUT(cv2.GaussianBlur(picture, (3, 3), 0), ROOTS)  # type: ignore[assignment]
        small = cv2.resize(seen[..., 1], (96, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
        cut = self._scene is not None and (seen.shape != self._now.shape or likeness(self._small, small) < LIKENESS)
        if self._scene is None or cut:
            self._begin(seen, at)
        step, self._at, self._small = max(0.0, at - self._at), at, small
        self._covered = _inside(persons, seen.shape)
        self._now = _relit(seen, self._there.slow, self._there.known & ~self._covered)
        self._compare()
        self._learn(step)
        return cut

    def _begin(self, now: Pixels, at: float) -> None:
        shape = now.shape[:2]
        times = (np.full(shape, time, np.float32) for time in (np.inf, at, -np.inf))
        self._scene = _Scene(now.astype(np.float32), now.copy(), np.zeros(shape, np.bool_), *times)
        self.began_at = self._at = at

    def _compare(self) -> None:
        scene = self._there
        usable = scene.known & ~self._covered
        self._before = cv2.convertScaleAbs(scene.slow)  # type: ignore[assignment]
        change = _largest(cv2.absdiff(self._now, self._before))  # type: ignore[arg-type]
        sigma = _sigma(change, usable)
        slack = np.float32(SHAKE_PX) * steepness(self._before[..., 1]) + np.float32(NOISE * min(sigma, 6.0))
        self._sure = (change > slack + np.float32(SURE)) & scene.known
        self._changed = (change > slack + np.float32(PERHAPS)) & scene.known

    def _learn(self, step: float) -> None:
        scene, at = self._there, np.float32(self._at)
        free = ~self._covered
        same = _largest(cv2.absdiff(self._now, scene.quick)) < np.uint8(SURE)  # type: ignore[arg-type]
        restarts = free & ~same
        np.copyto(scene.since, at, where=restarts)
        np.copyto(scene.quick, self._now, where=restarts[..., None])
        clean = free & same & scene.known & ~self._changed
        np.copyto(scene.clean_at, at, where=clean)
        rate = 1 - math.exp(-step / LEARN_S)
        cv2.accumulateWeighted(self._now, scene.slow, rate, mask=clean.view(np.uint8))
        old = at - scene.since
        learned = free & same & ((~scene.known & (old >= KNOWN_S)) | (self._changed & (old >= GIVE_UP_S)))
        if learned.any():
            np.copyto(scene.slow, scene.quick, where=learned[..., None], casting="unsafe")
            np.copyto(scene.known_at, at, where=learned & ~scene.known)
            scene.known |= learned
            self._changed &= ~learned

    @property
    def _there(self) -> _Scene:
        if self._scene is None:
            raise ValueError("nothing was looked at yet")
        return self._scene

    # --- what is asked ----------------------------------------------------------------------------------------------

    def blobs(self, least: float) -> list[Blob]:
        """What stands still and is new, with its longer side at least `least` of the picture's."""
        still = self._changed & ~self._covered & (np.float32(self._at) - self._there.since >= np.float32(STILL_S))
        mask = cv2.morphologyEx(still.view(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        count, marks, stats, _ = cv2.connectedComponentsWithStats(mask)
        smallest = max(least * max(mask.shape), 3.0)
        found: list[Blob | None] = []
        for index in range(1, count):
            x, y, width, height, area = (int(value) for value in stats[index])
            if max(width, height) >= smallest and area >= SOLID * width * height:
                found.append(self._blob(np.asarray(marks) == index, (x, y, width, height)))
        blobs = [blob for blob in found if blob is not None]
        return blobs if len(blobs) <= MOST_BLOBS else []

    def _blob(self, mask: Mask, place: tuple[int, int, int, int]) -> Blob | None:
        """None for one that is too faint, or that a person hides in part: where it ends is not known."""
        x, y, width, height = place
        rows, columns = mask.shape
        area = np.s_[max(0, y - 4) : y + height + 4, max(0, x - 4) : x + width + 4]
        part = mask[area]
        near = cv2.dilate(part.view(np.uint8), np.ones((5, 5), np.uint8)).view(np.bool_) & ~part
        if self._sure[area][part].mean() < 0.3 or self._covered[area][near].mean() > MOST_HIDDEN:
            return None
        box = Box.clipped(x / columns, y / rows, (x + width) / columns, (y + height) / rows)
        scene = self._there
        since, clean_at = float(np.median(scene.since[area][part])), float(np.median(scene.clean_at[area][part]))
        return Blob(box, since, clean_at, kind_of(self._now[area], self._before[area], part))

    def changed(self, box: Box) -> Change:
        """How much of a place differs now, and how much of what is around it."""
        area, wide = _pixels(box, self._covered.shape), _pixels(_grown(box), self._covered.shape)
        seen = self._there.known[wide] & ~self._covered[wide]
        differs = self._changed[wide] & seen
        inner = np.zeros(seen.shape, np.bool_)
        top, left = wide[0].start, wide[1].start
        inner[area[0].start - top : area[0].stop - top, area[1].start - left : area[1].stop - left] = True
        here, there = seen & inner, seen & ~inner
        return Change(
            float(here.sum() / max(inner.sum(), 1)),
            float((differs & here).sum() / max(here.sum(), 1)),
            float((differs & there).sum() / max(there.sum(), 1)),
        )

    def clean_at(self, box: Box) -> float:
        """When this place was last seen as it always was, in s; -inf: not since the scene began."""
        return float(np.median(self._there.clean_at[_pixels(box, self._covered.shape)]))

    def known_at(self, box: Box) -> float:
        """Since when it has been known how this place looks, in s; inf: it is not."""
        return float(np.median(self._there.known_at[_pixels(box, self._covered.shape)]))

    def accept(self, box: Box) -> None:
        """What is at this place now belongs there; what a person hides of it is unknown."""
        scene, area = self._there, _pixels(box, self._covered.shape, margin=3)
        scene.slow[area] = self._now[area]
        self._changed[area] = self._sure[area] = False
        scene.known[area] = ~self._covered[area]

    def hold(self, box: Box) -> None:
        """What is at this place now must not be learned, however long it stays there."""
        scene, area = self._there, _pixels(box, self._covered.shape, margin=3)
        latest = np.float32(self._at - GIVE_UP_S / 2)
        np.copyto(scene.since[area], latest, where=self._changed[area] & (scene.since[area] < latest))


def likeness(before: Levels, now: Levels) -> float:
    """Median correlation, over parts with texture, of two pictures of 64 x 96: near 1 whatever moves or is lit."""
    cells = [picture.reshape(8, 8, 8, 12).transpose(0, 2, 1, 3).reshape(64, 96) for picture in (before, now)]
    first, second = (cell - cell.mean(axis=1, keepdims=True) for cell in cells)
    power = (first**2).mean(axis=1), (second**2).mean(axis=1)
    textured = np.maximum(*power) > FLAT**2
    if np.count_nonzero(textured) < 8:
        return 1.0  # dark or covered: nothing to tell scenes apart by
    common = (first * second).mean(axis=1)[textured]
    return float(np.median(common / np.maximum(np.sqrt(power[0] * power[1])[textured], 1.0)))


def _largest(difference: Pixels) -> Grey:
    """Of the three channels."""
    blue, green, red = cv2.split(difference)
    return cv2.max(cv2.max(blue, green), red)  # type: ignore[return-value]


def _sigma(change: Grey, usable: Mask) -> float:
    """Deviation of the noise, from the median of what is mostly noise."""
    sample = change[::4, ::4][usable[::4, ::4]]
    return 1.4826 * float(np.median(sample)) if sample.size else 0.0


def _relit(seen: Pixels, slow: Levels, usable: Mask) -> Pixels:
    """A picture as it would look in the light of the slow one."""
    rows = usable[::6, ::6]
    if np.count_nonzero(rows) < 50:
        return seen
    now, before = seen[::6, ::6][rows].astype(np.float32), slow[::6, ::6][rows]
    levels = np.arange(256, dtype=np.float32)
    table = np.empty((256, 1, 3), np.float32)
    for channel in range(3):
        gain, offset = _line(now[:, channel], before[:, channel])
        table[:, 0, channel] = levels * gain + offset
    return cv2.LUT(seen, np.clip(np.round(table), 0, 255).astype(np.uint8))  # type: ignore[return-value]


def _line(x: Levels, y: Levels) -> tuple[float, float]:
    """Gain and offset by least trimmed squares: each round fits the half that fitted best."""
    gain, offset = 1.0, float(np.median(y - x))
    for _ in range(3):
        residual = np.abs(y - gain * x - offset)
        best = residual <= np.median(residual)
        u, v = x[best], y[best]
        variance = float(u.var())
        gain = float(((u - u.mean()) * (v - v.mean())).mean()) / variance if variance > 9 else 1.0
        gain = min(max(gain, GAIN[0]), GAIN[1])
        offset = float(v.mean() - gain * u.mean())
    return gain, offset


def _inside(boxes: Iterable[Box], shape: tuple[int, ...], margin: float = 0.06) -> Mask:
    """Where the boxes are, each widened on all sides by `margin` of its height."""
    mask = np.zeros(shape[:2], np.bool_)
    for box in boxes:
        pad = margin * box.height * shape[0] + 1
        x1, y1 = box.x1 * shape[1] - pad, box.y1 * shape[0] - pad
        x2, y2 = box.x2 * shape[1] + pad, box.y2 * shape[0] + pad
        mask[max(0, int(y1)) : max(0, math.ceil(y2)), max(0, int(x1)) : max(0, math.ceil(x2))] = True
    return mask


def _grown(box: Box) -> Box:
    x, y = 0.5 * box.width, 0.5 * box.height
    return Box.clipped(box.x1 - x, box.y1 - y, box.x2 + x, box.y2 + y)


def _pixels(box: Box, shape: tuple[int, ...], margin: int = 0) -> tuple[slice, slice]:
    """The px of a box, at least one."""
    x1, y1, x2, y2 = box.to_pixels(shape[1], shape[0])
    x1, y1 = min(x1, shape[1] - 1), min(y1, shape[0] - 1)
    left, top = max(0, x1 - margin), max(0, y1 - margin)
    return slice(top, max(y2, y1 + 1) + margin), slice(left, max(x2, x1 + 1) + margin)
