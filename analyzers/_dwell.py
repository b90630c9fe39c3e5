"""Dwell: how long somebody has been somewhere, how long something has held, which side of a line he is on.

Rules over tracks for whoever has areas, drawn or not: the caller says who is inside and who is still followed. All of
them are told by time, not by frames, and none is moved by boxes that tremble.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

Point = tuple[float, float]

SETTLE_S = 0.4  # in or out for so long before it counts: feet step on edges, and boxes tremble
SLACK_S = 1.0  # a condition may fail for so long and still be said to hold: tracks have gaps


@dataclass(slots=True)
class Visits:
    """Who is in one area. A visit begins, back-dated, once it has lasted `settle_s`; so it ends."""

    settle_s: float = SETTLE_S
    entered: int = 0
    left: int = 0
    since: dict[int, float] = field(default_factory=dict)  # by id, of those inside
    _changing: dict[int, float] = field(default_factory=dict)  # since when somebody seems to be on the other side

    def update(self, seen: Mapping[int, bool], hidden: Collection[int], at: float) -> tuple[list[int], list[int]]:
        """Who came and who went, by id. `seen` says of everybody in sight whether he is inside.

        `hidden` are followed but not seen: they stay where they were. Who is neither has gone for good.
        """
        came: list[int] = []
        went = [one for one in self.since if one not in seen and one not in hidden]
        for one, inside in seen.items():
            if inside == (one in self.since):
                self._changing.pop(one, None)
            elif at - self._changing.setdefault(one, at) >= self.settle_s:
                (came if inside else went).append(one)
        for one in came:
            self.since[one] = self._changing.pop(one)
        for one in went:
            self._changing.pop(one, None)
            del self.since[one]
        self._changing = {one: when for one, when in self._changing.items() if one in seen or one in hidden}
        self.entered += len(came)
        self.left += len(went)
        return came, went

    def dwell(self, one: int, at: float) -> float:
        """How long somebody has been inside, in s; 0 outside."""
        return at - self.since[one] if one in self.since else 0.0


@dataclass(slots=True)
class Held:
    """How long a condition has held. It may fail for up to `slack_s` in between."""

    slack_s: float = SLACK_S
    _since: float | None = None
    _last: float = 0.0

    def update(self, holds: bool, at: float) -> float:
        """Seconds, 0 while it does not hold."""
        if holds:
            self._since, self._last = at if self._since is None else self._since, at
        elif self._since is not None and at - self._last > self.slack_s:
            self._since = None
        return at - self._since if self._since is not None else 0.0


@dataclass(slots=True)
class _Side:
    """Where somebody certainly was, left (-1) or right (1) of the line, and whether he is now on the other side."""

    side: int
    point: Point
    across: Point | None = None  # where he was first seen there


@dataclass(slots=True)
class Crossings:
    """Who crosses a line, and to which side.

    On a side is who is further than `margin` from the line: feet on the line, and boxes that tremble, cross nothing.
    Whoever was seen twice in a row on the other side has crossed, if he went through the line and not around its end.
    """

    points: tuple[Point, ...]
    rightwards: int = 0
    leftwards: int = 0
    _sides: dict[int, _Side] = field(default_factory=dict)

    def update(self, feet: Mapping[int, tuple[Point, float]], hidden: Collection[int]) -> list[tuple[int, str]]:
        """Crossings now, by id and direction: `left_to_right` or `right_to_left`, looking from the first point on.

        `feet`: of everybody in sight the foot and his own `margin`, in the units of the line's points. `hidden` are
        remembered.
        """
        self._sides = {one: side for one, side in self._sides.items() if one in feet or one in hidden}
        return [
            (one, direction) for one, (foot, margin) in feet.items() if (direction := self._step(one, foot, margin))
        ]

    def _step(self, one: int, foot: Point, margin: float) -> str | None:
        distance, side = _beside(self.points, foot)
        known = self._sides.get(one)
        if distance <= margin:
            return None
        if known is None or side == known.side:
            self._sides[one] = _Side(side, foot)
            return None
        if known.across is None:
            known.across = foot
            return None
        through = any(
            _meet((known.point, known.across), piece) or _meet((known.across, foot), piece)
            for piece in pairwise(self.points)
        )
        self._sides[one] = _Side(side, foot)
        return self._count(side) if through else None

    def _count(self, side: int) -> str:
        if side > 0:
            self.rightwards += 1
            return "left_to_right"
        self.leftwards += 1
        return "right_to_left"


def _beside(points: tuple[Point, ...], where: Point) -> tuple[float, int]:
    """Distance to a line, and the side: 1 on the right looking along it (y points down), -1 on the left."""
    near = min(((_distance(piece, where), piece) for piece in pairwise(points)), key=lambda found: found[0])
    return near[0], 1 if _turn(*near[1], where) > 0 else -1


def _distance(piece: tuple[Point, Point], where: Point) -> float:
    (x1, y1), (x2, y2) = piece
    along = (x2 - x1) ** 2 + (y2 - y1) ** 2
    share = ((where[0] - x1) * (x2 - x1) + (where[1] - y1) * (y2 - y1)) / along if along else 0.0
    share = min(1.0, max(0.0, share))
    return float(((x1 + share * (x2 - x1) - where[0]) ** 2 + (y1 + share * (y2 - y1) - where[1]) ** 2) ** 0.5)


def _meet(one: tuple[Point, Point], other: tuple[Point, Point]) -> bool:
    """Whether two straight pieces have a point in common."""
    (a, b), (c, d) = one, other
    return _turn(a, b, c) * _turn(a, b, d) <= 0 and _turn(c, d, a) * _turn(c, d, b) <= 0


def _turn(a: Point, b: Point, c: Point) -> float:
    """Above 0 if the way from a over b to c turns right (y points down)."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
