"""Crowd: many more people than there were a moment ago.

A place is compared with itself: twice as many as its own level, and some more, come together within seconds. How many
are too many in a certain area is for `zones` to say.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median

from analyzers._dwell import Held

FRESH_S, LEVEL_S = 10.0, 60.0  # a surge comes within the former; the level is that of the latter before it
LEAST_S = 10.0  # of the level must have been seen: at the beginning of a stream nobody knows what is usual
BIN_S = 1.0  # counts blink; one number a second is their median
TIMES, MORE = 2.0, 3.0  # the level, by which a surge exceeds it: two who become four are no crowd
HELD_S = 2.0


@dataclass(slots=True)
class Surge:
    """The rule, for one session: at least `least` people, and well above the level."""

    least: int
    _bins: deque[tuple[float, float]] = field(default_factory=deque)  # begin, median count
    _counts: list[int] = field(default_factory=list)  # of the bin under way
    _began: float | None = None
    _held: Held = field(default_factory=Held)

    def cut(self) -> None:
        self._bins.clear()
        self._counts.clear()
        self._began, self._held = None, Held()

    def step(self, at: float, count: int) -> tuple[float, float] | None:
        """The count and the level it has left behind, while there is a surge."""
        self._count(at, count)
        now, level = median(self._counts), self.level(at)
        surged = level is not None and now >= max(self.least, TIMES * level, level + MORE)
        if self._held.update(surged, at) < HELD_S or level is None or not surged:
            return None
        return now, level

    def level(self, at: float) -> float | None:
        """The usual number of people; None as long as nobody knows."""
        usual = [count for begin, count in self._bins if at - begin >= FRESH_S]
        return median(usual) if len(usual) * BIN_S >= LEAST_S else None

    def _count(self, at: float, count: int) -> None:
        if self._began is not None and at < self._began:
            self.cut()
        if self._began is None or at - self._began >= BIN_S:
            if self._began is not None:
                self._bins.append((self._began, median(self._counts)))
            self._began = at
            self._counts.clear()
        if len(self._counts) < 100:
            self._counts.append(count)
        while self._bins and at - self._bins[0][0] > FRESH_S + LEVEL_S:
            self._bins.popleft()
