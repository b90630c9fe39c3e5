"""Motion: what moves now, found without weights.

A frame is compared with two earlier ones, about 0.3 and 0.6 s back on the session's clock. A pixel moves when it
differs from both, so whatever stops is quiet again after 0.3 s and leaves no ghost, at any frame rate. There is no
background model on purpose: one that adapts slowly enough to see a slow walker keeps his shadow for seconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from gateway import Analyzer, Box, Detection, Frame, Result, SessionInfo, Sighting, hookimpl

if TYPE_CHECKING:
    import numpy.typing as npt

    Grey = npt.NDArray[np.uint8]  # (h, w) grey levels, blurred
    Levels = npt.NDArray[np.float32]  # (h, w) grey levels

SIDE = 320  # px of the longer side; a person at the far end of a yard is still some 10 px wide
REACH_S = 0.3  # long enough for a slow walker to show between two frames, short enough to end soon after a stop
STALE_S = 2.5  # a frame this old says nothing about now
SPACING_S = 0.04  # frames closer together than this are not kept for comparison
SHAKE_PX = 0.5  # how far edges may jitter (camera on a pole, JPEG block edges) without being called motion
GAIN = (0.4, 2.5)  # exposure changes beyond this are a new scene


@dataclass(frozen=True)
class MotionOptions:
    sensitivity: float = 0.5  # 0-1; 1 takes changes of 4 grey levels above the noise for motion, 0.5 of 14, 0 of 24
    min_area: float = 0.001  # fraction of the frame; smaller regions are not reported
    linger_s: float = 1.0  # s without motion until the event ends

    def __post_init__(self) -> None:
        if not 0 <= self.sensitivity <= 1:
            raise ValueError(f"sensitivity must be 0-1, got {self.sensitivity}")
        if not 0 <= self.min_area <= 1:
            raise ValueError(f"min_area must be 0-1 of the frame, got {self.min_area}")
        if not self.linger_s >= 0:
            raise ValueError(f"linger_s must be 0 or more seconds, got {self.linger_s}")

    @property
    def least_change(self) -> float:
        """The smallest change that counts, in grey levels above the noise."""
        return 4 + 20 * (1 - self.sensitivity)


class _Past(NamedTuple):
    at: float
    grey: Grey


@dataclass(slots=True)
class _Memory:
    options: MotionOptions
    past: deque[_Past] = field(default_factory=deque)

    def recall(self, now: float, age: float) -> Grey | None:
        """The newest picture at least `age` seconds old."""
        # 1 ms of slack, or rounding of the clock decides between two frames
        return next((past.grey for past in reversed(self.past) if now - past.at >= age - 0.001), None)

    def keep(self, now: float, grey: Grey) -> None:
        """Remember a picture, and forget those that no later frame will ask for."""
        if self.past and self.past[-1].grey.shape != grey.shape:
            self.past.clear()
        if not self.past or now - self.past[-1].at >= SPACING_S:
            self.past.append(_Past(now, grey))
        while len(self.past) > 1 and now - self.past[1].at >= 2 * REACH_S:
            self.past.popleft()

    def forget(self, now: float, shape: tuple[int, ...]) -> None:
        """Drop pictures of another size and those too old to compare with."""
        while self.past and (self.past[0].grey.shape != shape or now - self.past[0].at > STALE_S):
            self.past.popleft()


class MotionAnalyzer(Analyzer):
    """Boxes around what moves, the moving share of the picture, and one event while anything moves."""

    name = "motion"
    title = "Motion"
    labels = ("motion",)
    event_types = ("motion",)
    side = SIDE
    Options = MotionOptions
    options: MotionOptions

    def open(self, session: SessionInfo) -> _Memory:
        return _Memory(session.options)

    def analyze(self, frame: Frame, memory: _Memory) -> Result:
        grey = _grey(frame)
        memory.forget(frame.at, grey.shape)
        near, far = memory.recall(frame.at, REACH_S), memory.recall(frame.at, 2 * REACH_S)
        memory.keep(frame.at, grey)
        if near is None:
            return Result(measures={"area": 0.0, "regions": 0})
        least = memory.options.least_change
        excess = _excess(grey, near, least)
        if far is not None:
            excess = np.minimum(excess, _excess(grey, far, least))
        return _result(_regions(excess, memory.options.min_area), memory.options.linger_s)


class _Region(NamedTuple):
    box: Box
    area: float  # fraction of the frame that moves, not of the box
    score: float


def _result(regions: list[_Region], linger_s: float) -> Result:
    if not regions:
        return Result(measures={"area": 0.0, "regions": 0})
    sighting = Sighting(
        "motion",
        score=max(region.score for region in regions),
        label="motion",
        box=_around([region.box for region in regions]),
        linger_s=linger_s,
    )
    return Result(
        tuple(Detection("motion", region.score, region.box) for region in regions),
        measures={"area": sum(region.area for region in regions), "regions": len(regions)},
        sightings=(sighting,),
    )


def _grey(frame: Frame) -> Grey:
    """Small, grey and blurred, so that sensor noise and JPEG blocks average out."""
    grey = cv2.cvtColor(frame.scaled(SIDE), cv2.COLOR_BGR2GRAY)
    return cv2.GaussianBlur(grey, (5, 5), 0)  # type: ignore[return-value]


def _excess(now: Grey, before: Grey, least: float) -> Levels:
    """How many times its threshold each pixel has changed; above 1 is motion.

    The threshold is `least` grey levels, plus five sigma of the noise measured in this very pair, plus what a shift
    of SHAKE_PX would do at that pixel's edge.
    """
    expected, edges = _relit(before, now), _steepness(before)
    change: Levels = np.abs(now - expected)
    sigma = 1.4826 * float(np.median(change[::2, ::2]))  # of half-normal deviations (MAD); motion is the minority
    excess: Levels = change / (least + 5 * sigma + SHAKE_PX * edges)
    return excess


def _relit(before: Grey, now: Grey) -> Levels:
    """`before` as it would look in the light of `now`: gain and offset from a least trimmed squares fit.

    Each round fits the half of the pixels that fitted best (Rousseeuw's concentration steps), so that what moves does
    not pull at the fit.
    """
    x = before[::4, ::4].ravel().astype(np.float32)
    y = now[::4, ::4].ravel().astype(np.float32)
    gain, offset = 1.0, float(np.median(y - x))
    for _ in range(4):
        residual = np.abs(y - gain * x - offset)
        best = residual <= np.median(residual)
        gain, offset = _line(x[best], y[best])
    relit: Levels = before * np.float32(gain) + np.float32(offset)
    return relit.clip(0, 255, out=relit)


def _line(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Least squares gain and offset; gain 1 where the picture is too flat to tell (under 2 grey levels of spread)."""
    variance = float(x.var())
    gain = float(((x - x.mean()) * (y - y.mean())).mean()) / variance if variance > 4 else 1.0
    gain = min(max(gain, GAIN[0]), GAIN[1])
    return gain, float(y.mean() - gain * x.mean())


def _steepness(grey: Grey) -> Levels:
    """Grey levels per px, the larger of both directions."""
    kernel = np.ones((3, 3), np.uint8)
    return np.asarray(cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, kernel), np.float32) / np.float32(2)


def _regions(excess: Levels, min_area: float) -> list[_Region]:
    """Connected areas of motion, the largest first. Gaps of a few px, as between legs and coat, are closed."""
    moving = excess > 1
    joined = cv2.dilate(moving.astype(np.uint8), np.ones((7, 7), np.uint8))
    count, marks = cv2.connectedComponents(joined)
    found = (_region(excess, moving & (marks == index)) for index in range(1, count))
    return sorted((region for region in found if region.area >= min_area), key=lambda region: -region.area)


def _region(excess: Levels, mask: npt.NDArray[np.bool_]) -> _Region:
    height, width = mask.shape
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    typical = float(excess[mask].mean())
    return _Region(
        Box(x / width, y / height, (x + w) / width, (y + h) / height),
        area=np.count_nonzero(mask) / mask.size,
        score=typical / (typical + 1),
    )


def _around(boxes: list[Box]) -> Box:
    return Box(
        min(box.x1 for box in boxes),
        min(box.y1 for box in boxes),
        max(box.x2 for box in boxes),
        max(box.y2 for box in boxes),
    )


@hookimpl
def register_analyzers() -> list[type[Analyzer]]:
    return [MotionAnalyzer]
