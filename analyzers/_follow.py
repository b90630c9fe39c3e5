"""Follows boxes from frame to frame by overlap, just well enough to say "the same person as a moment ago"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway import Box

LEAST_IOU = 0.1  # a walker at 2 frames a second overlaps little with where he was
FORGET_S = 3.0  # how long somebody may be hidden or missed and still be the same


@dataclass(slots=True)
class Followed:
    """Somebody being followed: where he was seen last, and when (s)."""

    id: int
    box: Box
    seen_at: float


@dataclass(slots=True)
class Follower:
    """Gives each box of a frame the id of whom it continues, or a new one. One a session; ids count from 1."""

    followed: dict[int, Followed] = field(default_factory=dict)
    _last_id: int = 0

    def follow(self, boxes: Sequence[Box], now: float) -> list[int]:
        """Ids for `boxes`, in their order: the best overlapping pair first, each id at most once."""
        self.followed = {id_: one for id_, one in self.followed.items() if now - one.seen_at <= FORGET_S}
        ids = self._continued(boxes)
        for index, box in enumerate(boxes):
            if index not in ids:
                self._last_id += 1
                ids[index] = self._last_id
            self.followed[ids[index]] = Followed(ids[index], box, now)
        return [ids[index] for index in range(len(boxes))]

    def _continued(self, boxes: Sequence[Box]) -> dict[int, int]:
        """Id by index, for those boxes that continue somebody."""
        pairs = [(box.iou(one.box), index, one.id) for index, box in enumerate(boxes) for one in self.followed.values()]
        ids: dict[int, int] = {}
        for iou, index, id_ in sorted(pairs, key=lambda pair: -pair[0]):
            if iou >= LEAST_IOU and index not in ids and id_ not in ids.values():
                ids[index] = id_
        return ids
