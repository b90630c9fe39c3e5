"""Who was where: the trails of persons, what they look like, and their last pictures.

A bag is often seen for the first time when whoever brought it has gone, so the recent past of everybody is kept: a
minute of where he stood, a few colour histograms, and a small picture for each second of the last ten.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from analyzers._bag_looks import colour_index, look_of, remember
from gateway import Box

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from analyzers._bag_looks import Look, Pixels

TRAIL_S = 60.0  # how far back it is known where somebody stood
FORGET_S = 120.0  # after he was seen last
MOST_TRAILS = 64  # those seen last are kept
SURE = 0.25  # score of a person who is certainly there; weaker ones are mostly furniture, or the bag itself
LOOK_S = 1.0  # how often somebody is looked at
LEAST_LOOK = 0.07  # of the picture's height: smaller persons have no colours worth comparing
SHOT_S, MOST_SHOTS, SHOTS_AT_ONCE = 1.0, 12, 2
WALKED = (
    0.2  # own heights: a box that never moved so far is perhaps no person; boxes of what stands still jitter by 0.05
)
OVER_S, APART_S = 0.4, 0.6  # how long two tracks must lie over each other, or stand apart, to be one person, or two
LOST_S = 2.0  # how long after he was lost somebody may appear again, near there, under another id
LEAST_CLAIM = 0.25  # s at a place that make an owner
ARRIVAL_S = 10.0  # nobody takes longer to put something down
CARRYING = 0.6  # s that one sighting of the thing in his hands counts; there are five a second
DEPTH = 1.5  # one step towards the camera covers fewer px than one aside: cameras look down at 30 to 45 degrees
REACH = 0.25  # of a person's height: a bag on a bench stands so much higher than the feet of its owner


class Step(NamedTuple):
    """Where somebody was at a time."""

    at: float
    box: Box
    score: float


class Place(NamedTuple):
    """Where a thing stands, and the times (s) between which it came there."""

    box: Box
    clean_at: float  # last seen without it; -inf: never
    since: float  # first seen with it


class Shot(NamedTuple):
    """A small picture of somebody: JPEG in base64."""

    at: float
    seq: int
    box: Box
    jpeg: str


@dataclass(slots=True)
class Trail:
    """What is known of one person track."""

    id: int
    steps: list[Step] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    latest: Look | None = None
    looked: int = 0  # how often
    shots: list[Shot] = field(default_factory=list)
    looked_at: float = float("-inf")
    shot_at: float = float("-inf")
    sure_at: float = float("-inf")  # last seen with a score that is no doubt
    sure_box: Box | None = None  # then
    rooted: bool = False  # there when the scene began
    walked: bool = False  # has been seen to walk, as persons do; a bag or a poster taken for a person has not
    span: tuple[float, float, float, float] | None = None  # of his feet, in heights of the picture
    height: float = 0.0  # mean of his boxes lately

    @property
    def last(self) -> Step:
        return self.steps[-1]

    def certain(self, at: float) -> bool:
        """Whether he certainly is where he was seen last: a weak sighting must not be far from a sure one."""
        if at - self.sure_at > 1.0 or self.sure_box is None:
            return False
        return self.last.score >= SURE or self.last.box.iou(self.sure_box) >= 0.4

    @property
    def previous_at(self) -> float:
        return self.steps[-2].at if len(self.steps) > 1 else self.steps[-1].at

    @property
    def began_at(self) -> float:
        return self.steps[0].at

    def add(self, step: Step, aspect: float) -> None:
        """Where he is now; what is older than TRAIL_S is forgotten."""
        self.steps.append(step)
        while step.at - self.steps[0].at > TRAIL_S:
            self.steps.pop(0)
        if step.score >= SURE:
            self.sure_at, self.sure_box = step.at, step.box
        x, y = step.box.center[0] * aspect, step.box.y2
        left, top, right, bottom = self.span or (x, y, x, y)
        self.span = min(left, x), min(top, y), max(right, x), max(bottom, y)
        self.height += (step.box.height - self.height) / min(len(self.steps), 25)
        across = math.hypot(self.span[2] - self.span[0], self.span[3] - self.span[1])
        self.walked = self.walked or (len(self.steps) > 2 and across >= WALKED * self.height)


@dataclass(slots=True)
class Kin:
    """What speaks for two tracks being one person, and against it."""

    over_s: float = 0.0
    apart_s: float = 0.0
    follows: bool = False

    @property
    def one_person(self) -> bool:
        return (self.over_s >= OVER_S or self.follows) and self.apart_s < APART_S


NOBODY = Kin()


class People:
    """The persons of one session, by track id."""

    def __init__(self) -> None:
        self.trails: dict[int, Trail] = {}
        self._kin: dict[tuple[int, int], Kin] = {}

    def step(self, at: float, persons: Sequence[tuple[int, Box, float]], *, began_at: float, aspect: float) -> None:
        """Persons seen in the frame of time `at`: (track id, box, score). `began_at`: when the scene did."""
        new = [id_ for id_, _, _ in persons if id_ not in self.trails]
        self._append(at, persons, began_at, aspect)
        self._pairs(at)
        for id_ in new:
            self._link(self.trails[id_], at)

    def _append(self, at: float, persons: Sequence[tuple[int, Box, float]], began_at: float, aspect: float) -> None:
        for id_, box, score in persons:
            trail = self.trails.setdefault(id_, Trail(id_, rooted=at - began_at < 1.5))
            trail.add(Step(at, box, score), aspect)

    def _pairs(self, at: float) -> None:
        """Note of each two whether they lie over each other, as two boxes of one person do, or stand apart."""
        here = self.here(at)
        for index, one in enumerate(here):
            for other in here[index + 1 :]:
                common = one.last.box.intersection(other.last.box)
                share = common / max(min(one.last.box.area, other.last.box.area), 1e-9)
                step = min(at - one.previous_at, at - other.previous_at, 0.5)
                pair = self._kin.setdefault(_key(one.id, other.id), Kin())
                if share > 0.7:
                    pair.over_s += step
                elif min(one.last.score, other.last.score) >= SURE and _separate(one.last.box, other.last.box):
                    pair.apart_s += step

    def _link(self, new: Trail, at: float) -> None:
        """Find who was lost where somebody new appears: it is he, under another id."""
        for lost in self.trails.values():
            if lost is not new and lost.last.at < at and _continues(new, lost):
                self._kin.setdefault(_key(new.id, lost.id), Kin()).follows = True

    def same(self, id_: int) -> list[int]:
        """The ids under which a person was seen, this one first, without those of what is no person."""
        found = [id_]
        for known in found:
            found += [other for other in self._kin_of(known, follows=True) if other not in found]
        for known in list(found):
            found += [other for other in self._kin_of(known, follows=False) if other not in found]
        found = [one for one in found if not self.apart(id_, one)]
        walkers = [one for one in found if self._walks(one)]
        return [one for one in found if self._walks(one) or not any(self.apart(one, other) for other in walkers)]

    def _walks(self, id_: int) -> bool:
        return id_ in self.trails and self.trails[id_].walked

    def _kin_of(self, id_: int, *, follows: bool) -> list[int]:
        pairs = (pair for pair, kin in self._kin.items() if id_ in pair and kin.one_person and kin.follows is follows)
        return [pair[0] if pair[1] == id_ else pair[1] for pair in pairs]

    def apart(self, one: int, other: int) -> bool:
        """Whether two tracks were seen at once, in different places."""
        return self._kin.get(_key(one, other), NOBODY).apart_s >= APART_S

    def cut(self) -> None:
        """Another scene: nobody known is in it."""
        self.trails, self._kin = {}, {}

    def forget(self, at: float, needed: Collection[int]) -> None:
        """Drop who left long ago, but for those whose ids are needed."""
        gone = [id_ for id_, one in self.trails.items() if at - one.last.at > FORGET_S and id_ not in needed]
        spare = sorted((one.last.at, id_) for id_, one in self.trails.items() if id_ not in needed)
        gone += [id_ for _, id_ in spare[: max(0, len(self.trails) - MOST_TRAILS)]]
        for id_ in gone:
            self.trails.pop(id_, None)
        if gone:
            self._kin = {pair: kin for pair, kin in self._kin.items() if not set(pair) & set(gone)}

    def here(self, at: float, *, within: float = 0.0) -> list[Trail]:
        """Those seen at `at`, or not longer ago than `within` s."""
        return [one for one in self.trails.values() if at - one.last.at <= within + 1e-6]

    def brought(self, place: Place, carried: Sequence[tuple[float, Box]], aspect: float) -> Trail | None:
        """Who put a thing to its place: who was at it most while it came, and had it in his hands before.

        `carried`: where the thing itself was seen on its way, with times.
        """
        claims = [(_claim(one, place, carried, aspect), one.id) for one in self.trails.values()]
        claim, id_ = max(claims, default=(0.0, 0))
        return self.trails[id_] if claim >= LEAST_CLAIM else None

    def look(self, picture: Pixels, at: float) -> None:
        """Note the colours of those who stand free in a picture (small BGR) of time `at`."""
        due = [one for one in self.here(at) if at - one.looked_at >= LOOK_S and one.last.score >= SURE]
        due = [one for one in due if one.last.box.height >= LEAST_LOOK and not self._crowded(one, at)]
        if not due:
            return
        colours = colour_index(picture)
        for trail in due:
            trail.looked_at = at
            if (look := look_of(colours, trail.last.box)) is not None:
                trail.latest = look
                trail.looked += 1
                remember(trail.looks, look)

    def _crowded(self, trail: Trail, at: float) -> bool:
        box = trail.last.box
        others = (one.last.box for one in self.here(at) if one is not trail and one.last.score >= SURE)
        return any(box.intersection(other) > 0.3 * box.area for other in others)

    def shoot(self, at: float, seq: int, photograph: Callable[[Box], str]) -> None:
        """Take pictures of those whose last one is a while ago, few at once."""
        due = [one for one in self.here(at) if at - one.shot_at >= SHOT_S and one.last.score >= SURE]
        for trail in sorted(due, key=lambda one: one.shot_at)[:SHOTS_AT_ONCE]:
            trail.shot_at = at
            trail.shots = [*trail.shots[1 - MOST_SHOTS :], Shot(at, seq, trail.last.box, photograph(trail.last.box))]


def distance(person: Box, thing: Box, unit: float, aspect: float) -> float:
    """How far somebody stands from a thing, on the ground as far as boxes tell, in `unit`s (of picture heights).

    0 if the boxes touch: of who stands behind a bag, the feet are not seen.
    """
    if person.intersection(thing) > 0:
        return 0.0
    x = max(0.0, thing.x1 - person.x2, person.x1 - thing.x2) * aspect
    y = max(0.0, abs(person.y2 - thing.y2) - REACH * person.height) * DEPTH
    return math.hypot(x, y) / max(unit, 1e-6)


def covered(box: Box, by: Iterable[Box]) -> float:
    """The share of a box that others cover, 0-1; at most: what several cover is counted for each."""
    return min(1.0, sum(box.intersection(other) for other in by) / max(box.area, 1e-9))


def touching(person: Box, thing: Box, aspect: float) -> float:
    """0-1: how much somebody is at a thing, from one height of the thing away to standing right over it."""
    unit = max(thing.height, 0.5 * thing.width * aspect, 0.2 * person.height)
    close = max(0.0, 1 - distance(person, thing, unit, aspect))
    return 0.5 * close + 0.5 * covered(thing, [person])


def _key(one: int, other: int) -> tuple[int, int]:
    return min(one, other), max(one, other)


def _continues(new: Trail, lost: Trail) -> bool:
    """Whether a track begins where another was lost, right then, at its size."""
    pause = new.began_at - lost.last.at
    if not 0 < pause <= LOST_S:
        return False
    first, box = new.steps[0].box, lost.last.box
    if pause <= 1.0 and first.iou(box) >= 0.3:
        return True
    if at_edge(first) or at_edge(box) or not 0.5 <= first.height / max(box.height, 1e-6) <= 2:
        return False  # one went out and another came in
    x, y = first.center[0] - box.center[0], first.center[1] - box.center[1]
    return math.hypot(x * 1.5, y) <= (0.3 + 0.6 * pause) * box.height


def _separate(one: Box, other: Box) -> bool:
    """Whether there is a gap between two boxes; those of one person who bends down may only touch."""
    gap = max(one.x1 - other.x2, other.x1 - one.x2, one.y1 - other.y2, other.y1 - one.y2)
    return gap > 0.1 * min(one.height, other.height)


def at_edge(box: Box, margin: float = 0.04) -> bool:
    """Whether a box ends at the edge of the picture: what it holds goes on there, or goes out just now."""
    return min(box.x1, box.y1, 1 - box.x2, 1 - box.y2) < margin


def _claim(trail: Trail, place: Place, carried: Sequence[tuple[float, Box]], aspect: float) -> float:
    """Seconds at the place while the thing came, and three times those with it on its way.

    Half for who stood there long before; next to nothing for who seems to be no person, or the thing itself.
    """
    start = max(place.clean_at, place.since - ARRIVAL_S) - 1.0
    at_it = _seconds_at(trail, place.box, (start, place.since + 1.5), aspect)
    if _seconds_at(trail, place.box, (start - 5.0, start), aspect) > 2.0:
        at_it *= 0.5
    with_it = sum(_share(trail, at, box) for at, box in carried) * CARRYING
    doubtful = not (trail.rooted or trail.walked) or any(step.box.iou(place.box) > 0.6 for step in trail.steps[-20:])
    return (at_it + with_it) * (0.1 if doubtful else 1.0)


def _seconds_at(trail: Trail, box: Box, during: tuple[float, float], aspect: float) -> float:
    total = 0.0
    for before, step in zip((trail.steps[0], *trail.steps), trail.steps, strict=False):
        if during[0] <= step.at <= during[1]:
            total += min(step.at - before.at, 0.5) * touching(step.box, box, aspect)
    return total


def _share(trail: Trail, at: float, thing: Box) -> float:
    """How much of a thing that was seen at a time was within his box, or just beside it."""
    step = min(trail.steps, key=lambda one: abs(one.at - at))
    if abs(step.at - at) > 0.15:
        return 0.0
    side = 0.2 * step.box.width
    return covered(thing, [Box.clipped(step.box.x1 - side, step.box.y1, step.box.x2 + side, step.box.y2)])
