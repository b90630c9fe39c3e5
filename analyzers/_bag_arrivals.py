"""What has just come to rest: things the detector keeps seeing in one place, and still regions that a person left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analyzers._bag_people import Place, at_edge, covered, touching
from analyzers._bag_rules import HIT, Belonging
from gateway import Box

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from analyzers._bag_background import Blob
    from analyzers._bag_people import Trail
    from analyzers._bag_rules import Sight, View

REST_S = 1.5  # seen for so long in one place, a thing is at rest
SAME_PLACE = 0.6  # overlap (IoU) of two sightings of one thing at rest
OFTEN = 0.4  # share of the looks that must see it: the detector blinks, mostly at small bags
LEAST_SCORE = 0.1  # their mean; a bag seen from above has hardly more, and the rules ask for more than a score
PAUSE_S = 2.0  # missed for longer, it has to begin anew
CARRIED_S = 12.0  # how far back it is known where moving bags were
BLOB_LOOKS = 3  # in how many looks running a still region must be the same
ALONE = 0.2  # of its surroundings may differ too; where more does, it is a part of something large
WORN_SCORE, WORN = 0.35, 0.75  # weaker things within the upper part of a person are folded arms and bright shirts
HEIGHTS = (0.07, 0.62)  # of a bag left by somebody, in heights of him; more is a chair, or somebody lying down
MOST_WIDTH = 0.8


@dataclass(slots=True)
class Candidate:
    """Something that may be at rest."""

    box: Box
    first_at: float
    last_at: float
    looks: int = 0
    hits: int = 0
    score: float = 0.0  # summed
    track_ids: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Arrivals:
    """Candidates of one session, and where bags in motion were."""

    least: float  # of the picture's longer side: smaller things are not found without a detector
    _seen: list[Candidate] = field(default_factory=list)
    _still: list[Candidate] = field(default_factory=list)
    _paths: dict[int, list[tuple[float, Box]]] = field(default_factory=dict)

    def clear(self) -> None:
        self._seen, self._still, self._paths = [], [], {}

    def seen(self, view: View, known: Sequence[Belonging]) -> list[Candidate]:
        """Things that the detector has seen long enough in one place, and that are not known yet."""
        self._note_paths(view)
        for one in self._seen:
            one.looks += 1
        for sight in view.sights:
            if not any(_same(sight.box, bag.box) for bag in known) and not _worn(sight, view.persons):
                self._take(sight, view.at)
        ripe = [one for one in self._seen if _ripe(one)]
        self._seen = [one for one in self._seen if one not in ripe and view.at - one.last_at <= PAUSE_S]
        return ripe

    def _take(self, sight: Sight, at: float) -> None:
        fits = [one for one in self._seen if one.box.iou(sight.box) >= SAME_PLACE]
        if not fits:
            self._seen.append(Candidate(sight.box, at, at, looks=1))
        one = max(fits, key=lambda fit: fit.box.iou(sight.box)) if fits else self._seen[-1]
        if one.last_at == at and one.hits:
            return
        one.last_at, one.hits, one.score = at, one.hits + 1, one.score + sight.score
        one.box = sight.box if one.hits == 1 else _between(one.box, sight.box, 0.25)
        if sight.track_id is not None:
            one.track_ids.add(sight.track_id)

    def _note_paths(self, view: View) -> None:
        for sight in view.sights:
            if sight.track_id is not None:
                self._paths.setdefault(sight.track_id, []).append((view.at, sight.box))
        for id_, path in list(self._paths.items()):
            self._paths[id_] = [point for point in path if view.at - point[0] <= CARRIED_S]
            if not self._paths[id_]:
                del self._paths[id_]

    def carried(self, candidate: Candidate) -> list[tuple[float, Box]]:
        """Where this thing was on its way here."""
        path = (point for id_ in candidate.track_ids for point in self._paths.get(id_, ()))
        return [(at, box) for at, box in path if at < candidate.first_at + 0.5 and box.iou(candidate.box) < 0.5]

    def still(self, view: View, known: Sequence[Belonging]) -> list[tuple[Candidate, Trail]]:
        """Still regions that somebody left, and by whom."""
        blobs = [one for one in view.blobs if one.kind == "object" and not _explained(one.box, known)]
        blobs = [one for one in blobs if view.ground.changed(one.box).around < ALONE]
        before, self._still = self._still, []
        found = []
        for blob in blobs:
            one = next((old for old in before if old.box.iou(blob.box) >= SAME_PLACE), None)
            one = one or Candidate(blob.box, blob.since, view.at)
            one.box, one.last_at, one.looks = blob.box, view.at, one.looks + 1
            self._still.append(one)
            if one.looks >= BLOB_LOOKS and (trail := self._left_by(blob, view)) is not None:
                found.append((one, trail))
        return found

    def _left_by(self, blob: Blob, view: View) -> Trail | None:
        side = max(blob.box.width * view.aspect, blob.box.height) / max(view.aspect, 1.0)
        if any(box.iou(blob.box) >= 0.5 for box in view.doubts):
            return None
        if at_edge(blob.box, 0.005) or side < self.least or blob.clean_at < 0 or blob.clean_at < view.ground.began_at:
            return None
        trail = view.people.brought(Place(blob.box, blob.clean_at, blob.since), (), view.aspect)
        return trail if trail is not None and trail.walked and _portable(blob, trail, view.aspect) else None


def _ripe(one: Candidate) -> bool:
    often = one.hits >= OFTEN * one.looks and one.hits >= 3
    return one.last_at - one.first_at >= REST_S and often and one.score >= LEAST_SCORE * one.hits


def _worn(sight: Sight, persons: Iterable[Box]) -> bool:
    """Whether it is held or worn by somebody, or only looks so."""
    if sight.score >= WORN_SCORE:
        return False
    upper = (Box(one.x1, one.y1, one.x2, one.y1 + WORN * one.height) for one in persons)
    return any(covered(sight.box, [one]) > 0.7 for one in upper)


def _portable(blob: Blob, trail: Trail, aspect: float) -> bool:
    """Whether a thing can be what this person carried, by his height when he was there."""
    there = (step for step in trail.steps if step.at <= blob.since + 2 and touching(step.box, blob.box, aspect) > 0)
    heights = sorted(step.box.height for step in there) or [trail.height]
    height = heights[(len(heights) - 1) * 3 // 4]  # the edge, or the thing itself, may have hidden part of him
    low, high = HEIGHTS
    return low * height <= blob.box.height <= high * height and blob.box.width * aspect <= MOST_WIDTH * height


def _same(box: Box, known: Box) -> bool:
    return box.iou(known) >= HIT or covered(box, [known]) > 0.7 or covered(known, [box]) > 0.7


def _explained(box: Box, known: Iterable[Belonging]) -> bool:
    return any(covered(box, [bag.box]) > 0.3 or covered(bag.box, [box]) > 0.3 for bag in known)


def _between(box: Box, other: Box, share: float) -> Box:
    pairs = zip(box, other, strict=True)
    return Box(*(first + share * (second - first) for first, second in pairs))
