"""Bodies: where a person was seen at one time, in units that do not depend on the camera.

Lengths are heights of the picture in both directions, times seconds of the session. Rules over persons measure in the
person's own height, so that near and far, large and small pictures give the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from gateway import Box, Detection, Result

PERSON = "person"
RIDES = ("bicycle", "motorcycle", "car", "truck", "bus", "train", "horse", "skateboard", "skis", "snowboard")
RIDING = 0.3  # of a person's lower half that such a thing covers: he rides
SURE = 0.25  # score of detections that are told as persons
EDGE = 0.015  # of the picture; what ends nearer to its edge is cut off there


class Body(NamedTuple):
    """One sight of a person. `x`: of the middle; `top` and `foot` count downwards; `score` 0-1."""

    at: float
    x: float
    top: float
    foot: float
    width: float
    score: float

    @classmethod
    def of(cls, box: Box, at: float, aspect: float, score: float) -> Body:
        return cls(at, box.center[0] * aspect, box.y1, box.y2, box.width * aspect, score)

    @property
    def height(self) -> float:
        return self.foot - self.top

    @property
    def middle(self) -> float:
        return (self.top + self.foot) / 2

    def box(self, aspect: float) -> Box:
        half = self.width / 2
        return Box.clipped((self.x - half) / aspect, self.top, (self.x + half) / aspect, self.foot)

    def grown(self, sides: float, up: float, down: float) -> Body:
        """Larger by that much on either side, above and below."""
        return self._replace(width=self.width + 2 * sides, top=self.top - up, foot=self.foot + down)

    def covers(self, other: Body) -> float:
        """Share of `other` that lies inside."""
        wide = min(self.x + self.width / 2, other.x + other.width / 2) - max(
            self.x - self.width / 2, other.x - other.width / 2
        )
        high = min(self.foot, other.foot) - max(self.top, other.top)
        area = other.width * other.height
        return max(0.0, wide) * max(0.0, high) / area if area > 0 else 0.0

    def cut_off(self, aspect: float) -> bool:
        """Whether the picture's edge cuts it, so that its size is not the person's."""
        inside = self.x - self.width / 2 > EDGE and self.x + self.width / 2 < aspect - EDGE
        return not (inside and self.top > EDGE and self.foot < 1 - EDGE)


@dataclass(frozen=True, slots=True)
class Sight:
    """The people of one frame. `people`: by track, seen now; `boxes` are theirs; `ages`: s since each was first seen.

    `loose`: detections that belong to nobody, weak ones. `hidden`: tracks that nothing is seen of now, with the boxes
    where they should be. `riders`: those who do not go on their own feet.
    """

    aspect: float
    people: dict[int, Body]
    boxes: dict[int, Box]
    ages: dict[int, float]
    loose: tuple[Body, ...]
    hidden: dict[int, Box]
    riders: frozenset[int]

    @classmethod
    def of(cls, tracks: Result, at: float, aspect: float) -> Sight:
        """From what the analyzer `tracks` tells."""
        seen = {one.track_id: one for one in tracks.detections if one.label == PERSON and one.track_id is not None}
        faint = [one for one in (*tracks.detections, *tracks.faint) if one.label == PERSON]
        rides = [one.box for one in tracks.detections if one.label in RIDES]
        return cls(
            aspect,
            {number: Body.of(one.box, at, aspect, one.score) for number, one in seen.items()},
            {number: one.box for number, one in seen.items()},
            {number: float(one.attributes.get("age_s", 0.0)) for number, one in seen.items()},
            tuple(Body.of(one.box, at, aspect, one.score) for one in faint if one.track_id is None),
            {one.track_id: one.box for one in tracks.faint if one.label == PERSON and one.track_id is not None},
            frozenset(number for number, one in seen.items() if _rides(one, rides)),
        )

    @property
    def sure(self) -> dict[int, Body]:
        """Those seen well enough to be told of, and to be measured."""
        return {number: body for number, body in self.people.items() if body.score >= SURE}


def _rides(person: Detection, rides: Iterable[Box]) -> bool:
    box = person.box
    lower = Box(box.x1, (box.y1 + box.y2) / 2, box.x2, box.y2)
    return any(lower.area > 0 and lower.intersection(ride) >= RIDING * lower.area for ride in rides)
