"""Tracking: the same thing in one picture after another, by one id.

Association in two stages by score, as ByteTrack does it (Zhang et al. 2022, arXiv 2110.06864): tracks first take the
strong detections, then what is left takes the weak ones, which are mostly the same persons half hidden, and which begin
no track of their own. Where things have gone meanwhile says a Kalman filter (`gateway.motion_model`) that counts in
seconds. Overlap alone does not find a walker again at 2 pictures a second, so detections are weighed against
predictions by distance in standard deviations of the filter, wide after a long step or for something new, narrow at 25
a second; and by overlap of boxes widened by the same (buffered IoU, Yang et al. 2023, arXiv 2211.14317). The assignment
that is best as a whole comes from `lap` (Jonker and Volgenant 1987).

Pure and deterministic: the same detections and times give the same tracks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import lap
import numpy as np

from gateway.motion_model import PLACE, PLACE_VARIANCE, SPEED, begin, correct, noise, predict
from gateway.results import Box, Detection

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

# Of taking a box for a track; see `_costs`. A step of 2.4 standard deviations costs 6, no overlap 4.
LIMIT = 14.0  # for strong detections
WEAK_LIMIT = 10.0  # and weak ones, which prove less
SIZE_WEIGHT, MOST_SIZE_COST = 0.3, 4.0  # somebody half hidden has half a box, and a step cut short
OVERLAP_WEIGHT = 4.0
LIKE = 0.3  # overlap (IoU) with the place of one who is not seen, from which a box that fits nobody is him, reshaped
WEAK_S = 1.0  # a weak detection continues only who was seen this lately
COAST_S = 3.0  # prediction goes on for so long; nobody walks straight on for ever
LEAVE_S, EDGE, AMBLE = 1.0, 0.01, 0.1  # who moves out (sizes a second) so near an edge, unseen for longer, has left
TWIN = 0.7  # a newcomer that overlaps a followed box of its kind by more is that one, seen twice
PATH_POINTS, PATH_STEP_S = 64, 0.1  # of a track are kept, so far apart


@dataclass(frozen=True, slots=True)
class Track:
    """One thing followed, as it stands after an update.

    `detection` is what was seen of it now; None: it is hidden, and `box` is where it should be. `velocity` is that of
    the box's centre per second, in widths and heights of the picture. `path` holds (at, x, y) of its foot, the middle
    of the lower edge, oldest first. `score` is the mean of its detections lately. Times are the caller's `at`, in s.
    """

    id: int
    label: str
    detection: Detection | None
    box: Box
    score: float
    started_at: float
    seen_at: float
    age_s: float  # since it was first seen
    unseen_s: float  # since it was last seen; 0 now
    velocity: tuple[float, float]
    path: tuple[tuple[float, float, float], ...] = field(repr=False)


@dataclass(slots=True, eq=False)
class _Followed:
    """What is known of one track beside its motion. Times on the tracker's own clock, which never goes back."""

    kind: str
    started_at: float
    seen_at: float
    began: float
    seen: float
    id: int | None = None  # None: not confirmed yet
    detection: Detection | None = None
    score: float = 0.0
    hits: int = 0
    chances: int = 0  # updates since it began
    labels: Counter[str] = field(default_factory=Counter)  # summed scores
    path: tuple[tuple[float, float, float], ...] = ()


class Tracker:
    """Follows the detections of one session; `update` once a frame. Ids count from 1 and are never used again.

    `groups`: labels that are one kind, such as all bags: they continue each other, and the track is called by the
    label with most score so far. A label in no group is a kind of its own. Detections of `strong` score begin tracks,
    weaker ones only continue them. A thing that is not seen is remembered for `lost_s` seconds, which may be changed
    at any time. A track has an id once it was seen at least twice over `confirm_s` seconds and in half of the pictures.
    `aspect` is the picture's width by its height. At most `most` tracks are held: those seen last.
    """

    def __init__(
        self,
        *,
        groups: Iterable[Collection[str]] = (),
        strong: float = 0.25,
        lost_s: float = 4.0,
        confirm_s: float = 0.2,
        aspect: float = 16 / 9,
        most: int = 256,
    ) -> None:
        self._kinds = {label: min(group) for group in groups for label in group}
        self.lost_s = lost_s
        self._strong, self._confirm_s = strong, confirm_s
        self._scale = np.array([aspect, 1.0, aspect, 1.0])
        self._most = most
        self._followed: list[_Followed] = []
        self._states: Array = np.zeros((0, 4, 5))
        self._clock = 0.0
        self._at: float | None = None
        self._last_id = 0

    @property
    def aspect(self) -> float:
        """Setting another one forgets everything but the ids given: it is not the same picture any more."""
        return float(self._scale[0])

    @aspect.setter
    def aspect(self, aspect: float) -> None:
        if not math.isclose(aspect, self.aspect, rel_tol=0.01):  # scaled pictures are rounded to whole pixels
            self._scale = np.array([aspect, 1.0, aspect, 1.0])
            self._followed, self._states = [], np.zeros((0, 4, 5))

    def update(self, detections: Sequence[Detection], at: float, *, faint: Sequence[Detection] = ()) -> list[Track]:
        """The confirmed tracks after a frame of time `at` (s), those hidden now included, by id.

        Detections in `faint` are weak whatever their score. Times may repeat, leap or go back; no step is negative.
        """
        self._pass(at)
        strong = [one for one in detections if one.score >= self._strong]
        weak = [one for one in detections if one.score < self._strong] + list(faint)
        strong, weak = _best(strong, self._most), _best(weak, self._most)
        waiting = self._reshape(self._stage(self._those(confirmed=True), strong, LIMIT, at), at)
        lately = [index for index in self._those(confirmed=True) if self._clock - self._followed[index].seen <= WEAK_S]
        self._stage(lately, weak, WEAK_LIMIT, at)
        waiting = self._stage(self._those(confirmed=False), waiting, LIMIT, at)
        self._begin(waiting, at)
        self._confirm()
        self._drop()
        return [self._track(index) for index in self._by_id()]

    # --- time --------------------------------------------------------------------------------------------------------

    def _pass(self, at: float) -> None:
        """Move everything to time `at`. What was in sight before a gap longer than `lost_s` is looked for in place."""
        if not math.isfinite(at):
            raise ValueError(f"a time is a finite number of seconds, got {at}")
        step = 0.0 if self._at is None else max(0.0, at - self._at)
        self._at = at
        unseen = np.array([self._clock - one.seen for one in self._followed])
        self._clock += step
        for one in self._followed:
            one.detection = None
            one.chances += 1
        if step > self.lost_s:
            self._states = begin(self._states[..., PLACE])
        elif self._followed:
            self._states = predict(self._states, np.clip(COAST_S - unseen, 0.0, step))

    # --- association -------------------------------------------------------------------------------------------------

    def _those(self, *, confirmed: bool) -> list[int]:
        """Indices of tracks that nothing was seen of in this frame yet."""
        return [
            index
            for index, one in enumerate(self._followed)
            if one.detection is None and (one.id is not None) is confirmed
        ]

    def _stage(self, tracks: Sequence[int], found: Sequence[Detection], limit: float, at: float) -> list[Detection]:
        """Give detections to tracks; those that are left."""
        if not tracks or not found:
            return list(found)
        boxes = self._measured(found)
        costs = _costs(self._states[tracks], boxes)
        kinds = np.array([self._followed[index].kind for index in tracks])
        costs[kinds[:, None] != np.array([self._kind(one.label) for one in found])[None, :]] = np.inf
        pairs = _assign(costs, limit)
        rows = [tracks[row] for row, _ in pairs]
        self._states[rows] = correct(self._states[rows], boxes[[column for _, column in pairs]])
        for index, (_, column) in zip(rows, pairs, strict=True):
            self._see(self._followed[index], found[column], at)
        taken = {column for _, column in pairs}
        return [one for column, one in enumerate(found) if column not in taken]

    def _reshape(self, found: Sequence[Detection], at: float) -> list[Detection]:
        """Give detections to tracks whose place they overlap, however badly they fit them; those that are left.

        Somebody cut off by a table or an edge is seen to the hip in one picture and whole in the next. His motion
        begins anew, since the leap was none of his.
        """
        left = []
        for one in found:
            kind = self._kind(one.label)
            there = [index for index in self._those(confirmed=True) if self._followed[index].kind == kind]
            overlap, index = max(((one.box.iou(self._box(index)), index) for index in there), default=(0.0, 0))
            if overlap < LIKE:
                left.append(one)
                continue
            self._states[index] = begin(self._measured([one]))[0]
            self._see(self._followed[index], one, at)
        return left

    def _measured(self, found: Sequence[Detection]) -> Array:
        """(n, 4) middle of the upper edge and size, in heights of the picture."""
        rows = [(one.box.center[0], one.box.y1, one.box.width, one.box.height) for one in found]
        boxes: Array = np.array(rows, np.float64).reshape(-1, 4) * self._scale
        return boxes

    def _kind(self, label: str) -> str:
        return self._kinds.get(label, label)

    def _see(self, one: _Followed, detection: Detection, at: float) -> None:
        one.detection, one.seen_at, one.seen = detection, at, self._clock
        one.hits += 1
        one.score += (detection.score - one.score) / min(one.hits, 10)
        one.labels[detection.label] += detection.score  # type: ignore[assignment]
        here = (at, *foot(detection.box))
        last_step = len(one.path) > 1 and one.path[-1][0] - one.path[-2][0] < PATH_STEP_S
        one.path = (*one.path[:-1], here) if last_step else (*one.path[1 - PATH_POINTS :], here)

    # --- beginnings and ends -----------------------------------------------------------------------------------------

    def _begin(self, found: Sequence[Detection], at: float) -> None:
        """New tracks of what nobody continued, but for second boxes of what is followed already."""
        new: list[Detection] = []
        for detection in sorted(found, key=lambda one: -one.score):
            if self._is_twin(detection):
                continue
            one = _Followed(self._kind(detection.label), at, at, self._clock, self._clock, chances=1)
            self._see(one, detection, at)
            self._followed.append(one)
            new.append(detection)
        if new:
            self._states = np.concatenate([self._states, begin(self._measured(new))])

    def _is_twin(self, newcomer: Detection) -> bool:
        kind = self._kind(newcomer.label)
        return any(
            one.kind == kind and one.detection is not None and one.detection.box.iou(newcomer.box) > TWIN
            for one in self._followed
        )

    def _confirm(self) -> None:
        for one in self._followed:
            if one.id is None and one.hits >= 2 and self._clock - one.began >= self._confirm_s:
                self._last_id += 1
                one.id = self._last_id

    def _drop(self) -> None:
        """Forget who left, who was not seen for too long, who was never there, and what is more than `most`."""
        kept = [index for index in range(len(self._followed)) if self._stays(index)]
        if len(kept) > self._most:
            kept = sorted(kept, key=lambda i: (-self._followed[i].seen, self._followed[i].id is None))[: self._most]
            kept.sort()
        if len(kept) < len(self._followed):
            self._followed = [self._followed[index] for index in kept]
            self._states = self._states[kept]

    def _stays(self, index: int) -> bool:
        one = self._followed[index]
        if one.detection is not None:
            return True
        if one.id is None:
            return 2 * one.hits >= one.chances
        unseen_s = self._clock - one.seen
        return unseen_s <= self.lost_s and not (unseen_s > LEAVE_S and self._leaves(index))

    def _leaves(self, index: int) -> bool:
        """Whether it is at an edge of the picture and on its way out, or already outside."""
        x, y, width, height = (self._states[index, :, PLACE] / self._scale).tolist()
        right, down = (self._states[index, :2, SPEED] / self._states[index, 2:, PLACE].max()).tolist()
        out = (right < -AMBLE and x - width / 2 < EDGE) or (right > AMBLE and x + width / 2 > 1 - EDGE)
        out = out or (down < -AMBLE and y < EDGE) or (down > AMBLE and y + height > 1 - EDGE)
        return bool(out) or self._box(index).area == 0

    # --- what is told ------------------------------------------------------------------------------------------------

    def _by_id(self) -> list[int]:
        confirmed = [index for index, one in enumerate(self._followed) if one.id is not None]
        return sorted(confirmed, key=lambda index: self._followed[index].id or 0)

    def _box(self, index: int) -> Box:
        """Where it should be, as far as that is in the picture."""
        x, y, width, height = (self._states[index, :, PLACE] / self._scale).tolist()
        return Box.clipped(x - width / 2, y, x + width / 2, y + height)

    def _track(self, index: int) -> Track:
        one = self._followed[index]
        x, y, _, height = (self._states[index, :, SPEED] / self._scale).tolist()
        return Track(
            id=one.id or 0,
            label=max(one.labels, key=lambda label: (one.labels[label], label)),
            detection=one.detection,
            box=self._box(index),
            score=one.score,
            started_at=one.started_at,
            seen_at=one.seen_at,
            age_s=self._clock - one.began,
            unseen_s=self._clock - one.seen,
            velocity=(x, y + height / 2),
            path=one.path,
        )


def foot(box: Box) -> tuple[float, float]:
    """Where something stands: the middle of the lower edge."""
    return (box.x1 + box.x2) / 2, box.y2


def _best(found: Sequence[Detection], most: int) -> list[Detection]:
    return sorted(found, key=lambda one: -one.score)[:most] if len(found) > most else list(found)


def _costs(states: Array, boxes: Array) -> Array:
    """(n, m) what it costs to take a measured box for a predicted one; 0 is best.

    The squared distance of the centres in standard deviations, what different sizes add to that, the logarithm of how
    unsure the prediction is, so that a sharp one has precedence, and for how little the boxes overlap.
    """
    least = noise(states)
    variance = states[..., PLACE_VARIANCE] + least
    apart = states[:, None, :, PLACE] - boxes[None, :, :]
    distance = apart**2 / variance[:, None, :]
    sizes = np.minimum(SIZE_WEIGHT * distance[..., 2:].sum(axis=2), MOST_SIZE_COST)
    unsure = 0.5 * np.log(variance / least)[:, None, :2].sum(axis=2)
    costs: Array = (
        distance[..., :2].sum(axis=2) + sizes + unsure + OVERLAP_WEIGHT * (1 - _overlap(states, boxes, variance))
    )
    return costs


def _overlap(states: Array, boxes: Array, variance: Array) -> Array:
    """IoU (n, m) of predicted and measured boxes, both widened on each side by half a standard deviation."""
    buffer = 0.5 * np.sqrt(variance[:, None, :2])
    halves = states[:, None, 2:, PLACE] / 2 + buffer, boxes[None, :, 2:] / 2 + buffer
    apart = np.abs(_centres(states[..., PLACE])[:, None] - _centres(boxes)[None, :])
    common = np.clip(np.minimum(halves[0] + halves[1] - apart, 2 * np.minimum(*halves)), 0.0, None).prod(axis=2)
    union = 4 * halves[0].prod(axis=2) + 4 * halves[1].prod(axis=2) - common
    iou: Array = common / union
    return iou


def _centres(boxes: Array) -> Array:
    """(n, 2) of boxes told by the middle of their upper edge."""
    centres: Array = boxes[:, :2] + boxes[:, 2:] * (0.0, 0.5)
    return centres


def _assign(costs: Array, limit: float) -> list[tuple[int, int]]:
    """Row and column pairs of the assignment that is best as a whole, of pairs that cost at most `limit`."""
    allowed = np.where(costs <= limit, costs, 2 * limit)
    _, columns, _ = lap.lapjv(np.ascontiguousarray(allowed), extend_cost=True, cost_limit=limit)
    return [(row, int(column)) for row, column in enumerate(columns) if column >= 0]
