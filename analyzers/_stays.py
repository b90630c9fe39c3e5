"""Stays: who does not move on, without any area drawn: he stays within some own heights of where he was."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from analyzers._bodies import Body
from analyzers._dwell import Held

SIT_S = 2.0  # beyond his circle for so long, somebody has moved on; until then a box has jumped


@dataclass(slots=True)
class _Stay:
    """Where somebody was found, and since when."""

    x: float
    foot: float
    since: float
    beyond: Held = field(default_factory=lambda: Held(slack_s=0.5))


@dataclass(slots=True)
class Stays:
    """The rule, for one session: within `heights` own heights of one place for `stay_s`; 0: nobody minds."""

    stay_s: float
    heights: float
    _people: dict[int, _Stay] = field(default_factory=dict)

    def cut(self) -> None:
        self._people.clear()

    def step(self, people: Mapping[int, Body], hidden: Collection[int], at: float) -> dict[int, float]:
        """For how many s each has stayed who has stayed too long. `hidden` are where they were."""
        if not self.stay_s:
            return {}
        self._people = {one: stay for one, stay in self._people.items() if one in people or one in hidden}
        for number, body in people.items():
            stay = self._people.setdefault(number, _Stay(body.x, body.foot, at))
            way = ((body.x - stay.x) ** 2 + (body.foot - stay.foot) ** 2) ** 0.5
            if stay.beyond.update(way > self.heights * body.height, at) >= SIT_S:
                self._people[number] = _Stay(body.x, body.foot, at)
        stays = {number: at - self._people[number].since for number in people}
        return {number: stayed for number, stayed in stays.items() if stayed >= self.stay_s}
