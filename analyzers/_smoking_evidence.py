"""Evidence: what a cigarette detector saw, and whether it can be a cigarette of this person.

Scores alone do not tell a cigarette from a microphone or a cuff. What else must hold, each from what a cigarette is:

- its mirror image looks like a cigarette too, at the same place. Detectors give a cigarette about the same score both
  ways; what they take for one by chance (a glint, a finger) mostly in one of them. The score is the mean of both.
- it is short: 84 to 120 mm, against a head of 230.
- it is where mouth or hands of its smoker are, and nearer to his mouth than to anybody else's.
- it is no part of a larger thing that `objects` is more sure of: a phone, a cup, a toothbrush.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import hypot

from analyzers._smoking_view import head_height, is_cut_off
from gateway import Box, Detection

LONGEST = 0.6  # head heights; 120 mm are 0.5, and boxes are drawn with a margin; a phone is 150 mm or more
REACH = 3.5  # head heights from the mouth to the fingertips of a stretched arm
AT_MOUTH = 1.0  # head heights from the mouth; the head's own error is in it
OVER_HEAD = 0.3  # head heights above the crown; nobody smokes higher
MOUTH = 0.75  # of the head's height, below the crown
AT_EDGE = 0.02  # of the frame; boxes at an edge end a little short of it
SAME_PLACE = 0.3  # overlap (IoU) of one thing seen twice
ACT = ("smok",)  # a class with this in its name (smoker, person smoking) is somebody who smokes, and as large as he is
LEAST_ACT = 0.3  # overlap (IoU) of such a box with the person's, or with what is seen of him
INSIDE = 0.7  # of the evidence's area inside a thing that explains it,
LARGER = 3.0  # which is so much larger: a cigarette that is called a toothbrush is no larger than itself
THINGS = frozenset(
    {
        *("cell phone", "remote", "cup", "bottle", "wine glass", "bowl", "toothbrush", "fork", "knife", "spoon"),
        *("scissors", "hair drier", "book", "mouse", "banana", "carrot", "hot dog", "sandwich", "donut", "pizza"),
    }
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Of a frame of `size` px: the persons in it, and the things with a name."""

    size: tuple[int, int]
    persons: tuple[Box, ...]
    things: tuple[Detection, ...]

    @classmethod
    def of(cls, size: tuple[int, int], persons: Iterable[Box], seen: Iterable[Detection]) -> Surroundings:
        return cls(size, tuple(persons), tuple(one for one in seen if one.label in THINGS))

    def belongs(self, found: Detection, person: Box) -> bool:
        """Whether this can be the evidence that this person smokes."""
        if is_act(found.label):
            return _overlap(found.box, person, self.size) >= LEAST_ACT
        return (
            self._short_enough(found.box, person)
            and self.reach(found.box, person) <= REACH
            and self._height_over_head(found.box, person) <= OVER_HEAD
            and not any(_explains(thing, found) for thing in self.things)
            and not any(self.reach(found.box, other) < self.reach(found.box, person) for other in self.persons)
        )

    def at_mouth(self, box: Box, person: Box) -> bool:
        return self.reach(box, person) <= AT_MOUTH

    def reach(self, box: Box, person: Box) -> float:
        """From the person's mouth to the middle of a box, in heights of his head."""
        head = head_height(person, *self.size)
        x = (box.center[0] - person.center[0]) * self.size[0]
        y = (box.center[1] - person.y1) * self.size[1] - MOUTH * head
        return hypot(x, y) / head

    def _height_over_head(self, box: Box, person: Box) -> float:
        return (person.y1 - box.center[1]) * self.size[1] / head_height(person, *self.size)

    def _short_enough(self, box: Box, person: Box) -> bool:
        """By the box's diagonal, which is the length of a thin thing however it is held.

        In a close-up that cuts off the head, or the shoulders, nobody knows how large a head is.
        """
        length = hypot(box.width * self.size[0], box.height * self.size[1])
        beyond = person.x1 < AT_EDGE or person.x2 > 1 - AT_EDGE
        close_up = person.y1 < AT_EDGE or (is_cut_off(person) and beyond)
        return close_up or length <= LONGEST * head_height(person, *self.size)


def is_act(label: str) -> bool:
    """Whether a class is somebody smoking, and not the thing that is smoked."""
    return any(word in label.lower() for word in ACT)


def agreed(plain: Sequence[Detection], mirrored: Sequence[Detection]) -> list[Detection]:
    """What is seen of one place both ways, with the mean of the scores, best first; seen once it has half its score."""
    pairs = [*((one, mirrored) for one in plain), *((one, plain) for one in mirrored)]
    both = [replace(one, score=(one.score + _score_at(one, others)) / 2) for one, others in pairs]
    return sorted(both, key=lambda one: -one.score)


def _score_at(one: Detection, others: Sequence[Detection]) -> float:
    same = (other for other in others if other.label == one.label and other.box.iou(one.box) >= SAME_PLACE)
    return max((other.score for other in same), default=0.0)


def _overlap(box: Box, person: Box, size: tuple[int, int]) -> float:
    """With the whole person or, in a view of the upper body, with the half of him that such a box is of."""
    upper = Box(person.x1, person.y1, person.x2, (person.y1 + person.y2) / 2)
    return max(box.iou(person), box.iou(upper))


def _explains(thing: Detection, found: Detection) -> bool:
    """Detectors of things take a hand with a cigarette for a phone now and then, but are not sure of it."""
    inside = thing.box.intersection(found.box) >= INSIDE * found.box.area
    return inside and thing.box.area >= LARGER * found.box.area and thing.score > found.score
