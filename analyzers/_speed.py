"""Speed: who runs, in own heights a second, which are the same near and far.

People walk at 0.8 heights a second, fast ones at 1.2, and go over to a run at about 1.3 (2.2 m/s); joggers make 1.6,
who runs from or after something 2 and more. A camera that looks down shortens people but not their way: at 45 degrees
by 1.4, so that the fastest walker seems to make 1.8 there. Straight at the camera or away from it the way is shortened:
such a run is seen only from above.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

from analyzers._bodies import Body
from analyzers._dwell import Held

UPRIGHT = 1.1  # height by width of a runner: long strides are wide
FULL = 0.8  # of the window must be seen: over half of it anybody may seem fast
STRAIGHT = 0.7  # of the two halves' way is the whole way: a box that jumps to and fro goes nowhere
ALIKE = 1.35  # largest by median height: a box that shrinks or grows by more is not the same view of somebody
MOST_POINTS, STEP_S = 64, 0.04
SLACK_S = 0.5


@dataclass(slots=True)
class _Runner:
    sights: deque[Body] = field(default_factory=lambda: deque(maxlen=MOST_POINTS))
    held: Held = field(default_factory=lambda: Held(SLACK_S))


class Speeds:
    """Of everybody in one session. `window_s`: a run lasts at least so long."""

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self._people: dict[int, _Runner] = {}

    def cut(self) -> None:
        self._people.clear()

    def step(self, people: Mapping[int, Body], at: float, aspect: float) -> dict[int, float]:
        """Heights a second over the window, of those seen throughout it."""
        self._people = {number: self._people.get(number, _Runner()) for number in people}
        return {number: self._speed(self._people[number], body, at, aspect) for number, body in people.items()}

    def _speed(self, one: _Runner, body: Body, at: float, aspect: float) -> float:
        if body.cut_off(aspect) or body.height < UPRIGHT * body.width:
            one.sights.clear()
            return 0.0
        if not one.sights or not 0 <= at - one.sights[-1].at < STEP_S - 0.005:
            one.sights.append(body)
        while one.sights and not 0 <= at - one.sights[0].at <= self.window_s + 0.001:
            one.sights.popleft()
        return _over(list(one.sights), FULL * self.window_s)


def _over(sights: list[Body], least_s: float) -> float:
    """The slower of head and feet in the slower half; 0 if they were not seen for `least_s`, or not going one way."""
    if len(sights) < 4 or sights[-1].at - sights[0].at < least_s:
        return 0.0
    tall = median(one.height for one in sights)
    if max(one.height for one in sights) > ALIKE * tall or min(one.height for one in sights) * ALIKE < tall:
        return 0.0
    middle = len(sights) // 2
    heads = [(one.at, one.x, one.top) for one in (sights[0], sights[middle], sights[-1])]
    feet = [(one.at, one.x, one.foot) for one in (sights[0], sights[middle], sights[-1])]
    return min(_steady(heads), _steady(feet)) / tall


Point = tuple[float, float, float]  # at, x, y


def _steady(points: Iterable[Point]) -> float:
    first, middle, last = points
    halves = _way(first, middle), _way(middle, last)
    if _way(first, last) < STRAIGHT * sum(halves):
        return 0.0
    return min(halves[0] / (middle[0] - first[0]), halves[1] / (last[0] - middle[0]))


def _way(one: Point, other: Point) -> float:
    return float(((one[1] - other[1]) ** 2 + (one[2] - other[2]) ** 2) ** 0.5)
