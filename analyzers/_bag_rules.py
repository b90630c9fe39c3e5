"""Whose a bag is, and what has become of it: owned, left, unattended, abandoned, removed.

Pure rules over what others saw: trails of persons, sightings of bags, still regions, the likeness of places. All times
are s of the session's clock; a step is about 0.2 s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from analyzers._bag_looks import likeness, remember
from analyzers._bag_people import SURE, Trail, at_edge, covered, distance
from gateway import Box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analyzers._bag_background import Blob, Change
    from analyzers._bag_looks import Look
    from analyzers._bag_people import People, Shot

PRESENT, ABSENT = 0.55, 0.35  # likeness of a place to the thing in it: half hidden things keep 0.6, empty places 0.1
EMPTY = 0.35  # of the newness: a place that differs no more from the background than this is as it was before
HIT = 0.4  # overlap (IoU) with a place that makes a detection one of the thing there
HIDDEN = 0.3  # share of a thing hidden by persons from which on its absence proves nothing
GONE_S = 1.0  # not there for so long is gone
CONFIRM_S = 1.0  # in plain sight for so long, a thing is one, and no part of who holds it
AWAY_S = 1.0  # out of reach for so long, an owner has left; the clocks count from the beginning of that
BACK_S, TOUCH_S, TOUCH = 3.0, 1.0, 0.5  # near for so long, or at it (bag heights), he is back and not just passing
BEHIND = 0.6  # of the owner's height beside the bag: who is smaller is far behind it
UNSEEN_S = 0.6  # a person missed for no longer is where he was
UNLIKE = 0.5  # and below which even his track does not make somebody the owner
MISSED_S = 20.0  # and one who is not seen to go may be missed for so long, if his place does not show him gone
UNMOVED = (0.45, 0.65)  # likeness of that place that proves it with, and without the help of the background
STANDING = 0.4  # share of its upper half that is not background
SAME_PERSON = 0.88  # likeness from which on a stranger at the bag is its owner come back
PATIENCE_S = 3.0  # an alarm waits so long for who hides the bag
SHOWN_ALONE_S = 0.6  # a bag must be seen without its owner for so long before anything is said
LIMBO_S = 30.0  # what is found again after a cut of the picture has been there all the time
REMOVED_S = 3.0  # how long a removal is told


class Eye(Protocol):
    """The picture of this step, as far as rules want to know it."""

    def template(self, box: Box) -> Any:
        """What is at a place, to be recognised later."""

    def match(self, template: Any, box: Box, *, learn: bool = False) -> float:
        """How like a place is to what was there, -1 to 1."""


class Ground(Protocol):
    """The background model, as far as rules want to know it."""

    began_at: float

    def changed(self, box: Box) -> Change: ...
    def clean_at(self, box: Box) -> float: ...
    def known_at(self, box: Box) -> float: ...
    def accept(self, box: Box) -> None: ...
    def hold(self, box: Box) -> None: ...


class Sight(NamedTuple):
    """A bag that the detector sees now."""

    label: str
    score: float
    box: Box
    track_id: int | None = None


@dataclass(frozen=True, slots=True)
class View:
    """All that is known of one moment. `persons` are those that certainly are there; `aspect` is width by height."""

    at: float
    step: float
    aspect: float
    people: People
    persons: Sequence[Box]
    doubts: Sequence[Box]  # perhaps persons: too weakly seen to be sure
    sights: Sequence[Sight]
    blobs: Sequence[Blob]
    eye: Eye
    ground: Ground


@dataclass(slots=True, eq=False)
class Owner:
    """Whose a bag is. `bases` are tracks that are his on their own account, the first names him; `ids` all of his."""

    bases: list[int]
    ids: list[int]
    seen_at: float
    box: Box | None = None
    looks: list[Look] = field(default_factory=list)
    height: float = 0.0  # of the picture; his, beside the bag
    template: Any = None
    shot: Shot | None = None
    departed: bool = False  # seen out of reach, or at the edge of the picture

    @property
    def name(self) -> str | None:
        return f"person-{self.bases[0]}" if self.bases else None


@dataclass(slots=True, eq=False)
class Belonging:
    """A thing at rest. Seconds in `*_s` are sums, times in `*_at` and `since` are of the clock."""

    id: int
    label: str
    box: Box
    score: float
    since: float
    clean_at: float
    template: Any
    found_still: bool = False  # by the background model, not by the detector
    confirmed: bool = False
    furniture: bool = False  # was there before anybody
    newness: float = (
        0.0  # share of its place that differed from the background when it came; 0: was there from the start
    )
    carried: bool = False  # was seen on its way here
    owner: Owner | None = None
    track_ids: set[int] = field(default_factory=set)
    seen_at: float = 0.0
    hidden: float = 0.0
    shown_s: float = 0.0
    absent_s: float = 0.0
    near_at: float = 0.0
    away: bool = False
    alone_s: float = 0.0
    back_s: float = 0.0
    touch_s: float = 0.0
    alarmed: bool = False
    limbo_at: float | None = None
    state: str = "held"

    @property
    def name(self) -> str:
        return f"bag-{self.id}"

    def unit(self, aspect: float) -> float:
        """The bag's height, in heights of the picture: of one that lies flat, and of half a bag, not less than this."""
        least = 0.2 * self.owner.box.height if self.owner and self.owner.box else 0.0
        return max(self.box.height, 0.5 * self.box.width * aspect, least)


class Removal(NamedTuple):
    """A bag that was taken after it had been left."""

    at: float
    bag: Belonging
    by_owner: bool
    taker: str | None


# --- the thing -------------------------------------------------------------------------------------------------------


def watch(bag: Belonging, view: View) -> None:
    """Whether the thing is there in this view, is not, or cannot be told."""
    bag.hidden = covered(bag.box, (box for box in view.persons if box.iou(bag.box) < 0.5))
    match = view.eye.match(bag.template, bag.box, learn=bag.hidden < 0.1)
    hit = max((one for one in view.sights if one.box.iou(bag.box) >= HIT), key=lambda one: one.score, default=None)
    change = view.ground.changed(bag.box)
    empty = bag.newness > 0 and change.known > 0.6 and change.inside < EMPTY * bag.newness
    if hit is not None and not empty:
        _hit(bag, hit, match, view)
    if not empty and (hit is not None or match >= PRESENT):
        _present(bag, view, plain=bag.hidden < HIDDEN or (hit is not None and hit.score >= 0.4))
    elif not empty and bag.confirmed and bag.hidden < HIDDEN and (blob := _blob_at(bag.box, view.blobs)) is not None:
        bag.box, bag.template = blob, view.eye.template(blob)  # toppled, or pushed a little
        _present(bag, view, plain=True)
    elif (match < ABSENT and _carried_off(bag, view)) or empty:
        bag.absent_s += view.step
    elif bag.hidden < HIDDEN:
        bag.shown_s = 0.0
        other = change.known > 0.5 and change.inside > 0.5 and match > 0.2
        unclear = bag.confirmed and (match >= ABSENT or other)
        bag.absent_s += view.step * (0.2 if unclear else 1.0)


def _hit(bag: Belonging, hit: Sight, match: float, view: View) -> None:
    """The detector sees it: learn from that."""
    bag.score += 0.1 * (hit.score - bag.score)
    bag.label = "bag"
    if hit.track_id is not None:
        bag.track_ids.add(hit.track_id)
    if bag.hidden < 0.1 and match < PRESENT:
        bag.box, bag.template = hit.box, view.eye.template(hit.box)


def _present(bag: Belonging, view: View, *, plain: bool) -> None:
    bag.seen_at, bag.absent_s = view.at, 0.0
    if plain:
        bag.shown_s += view.step
        bag.alone_s += view.step if bag.away else 0.0
    if bag.confirmed:
        view.ground.hold(bag.box)


def _blob_at(box: Box, blobs: Sequence[Blob]) -> Box | None:
    near = [blob.box for blob in blobs if blob.kind == "object" and blob.box.intersection(box) > 0.3 * box.area]
    return max((one for one in near if 0.4 < one.area / box.area < 2.5), key=lambda one: one.iou(box), default=None)


def elsewhere(bag: Belonging, view: View) -> list[Sight]:
    """Where the very thing is seen if not in its place."""
    return [one for one in view.sights if one.track_id in bag.track_ids and one.box.iou(bag.box) < HIT]


def _carried_off(bag: Belonging, view: View) -> bool:
    return any(covered(one.box, view.persons) > 0.1 for one in elsewhere(bag, view))


# --- the owner -------------------------------------------------------------------------------------------------------


def own(bag: Belonging, trail: Trail, view: View, reach: float) -> None:
    """Make somebody the owner, and catch up with what he has done since the bag came to rest."""
    owner = bag.owner = Owner([trail.id], view.people.same(trail.id), trail.last.at, trail.last.box)
    bag.near_at = bag.since
    trails = _trails(owner, view)
    steps = sorted((step for one in trails for step in one.steps if step.score >= SURE), key=lambda step: step.at)
    for step in steps:
        if step.at < bag.since:
            continue
        far = distance(step.box, bag.box, bag.unit(view.aspect), view.aspect) > reach
        owner.departed, owner.seen_at, owner.box = far or at_edge(step.box), step.at, step.box
        if not far:
            bag.near_at, owner.height = step.at, max(owner.height, step.box.height)
    for one in trails:
        for look in one.looks:
            remember(owner.looks, look)
    owner.shot = _shot(owner, view, bag.near_at)


def _shot(owner: Owner, view: View, until: float) -> Shot | None:
    """His last picture until a time; the least late one if there is none."""
    shots = [shot for one in _trails(owner, view) for shot in one.shots]
    before = [shot for shot in shots if shot.at <= until + 0.01]
    if before:
        return max(before, key=lambda shot: shot.at)
    return min(shots, key=lambda shot: shot.at, default=owner.shot)


def follow(bag: Belonging, view: View, reach: float) -> None:
    """Where the owner is, and since when he has been away."""
    owner = bag.owner
    if owner is None:
        return
    _recognise(bag, owner, view, reach)
    seen = [one for one in _trails(owner, view) if view.at - one.last.at <= UNSEEN_S and one.certain(view.at)]
    seen = [one for one in seen if not (bag.away and unlike(owner, one))]
    unit = bag.unit(view.aspect)
    nearest = min((distance(one.last.box, bag.box, unit, view.aspect) for one in seen), default=None)
    for one in seen:
        _note(owner, one, view, learn=not bag.away)
    if nearest is not None:
        gone = nearest > reach or all(at_edge(one.last.box) for one in seen)
        owner.departed = gone or (bag.away and owner.departed)
    still_there = nearest is None and not bag.away and _unmoved(owner, view)
    near = (nearest is not None and nearest <= reach) or still_there
    if bag.away:
        back = any(_beside(one.last.box, bag, view, reach) for one in seen)
        _return(bag, view, nearest if back else None)
    elif near:
        bag.near_at = view.at if still_there else max(bag.near_at, *(one.last.at for one in seen))
        owner.height = max([owner.height, *(one.last.box.height for one in seen)])
        if seen:
            owner.shot = _shot(owner, view, view.at)
    elif view.at - bag.near_at >= AWAY_S:
        bag.away = True


def _note(owner: Owner, trail: Trail, view: View, *, learn: bool) -> None:
    owner.seen_at, owner.box = trail.last.at, trail.last.box
    for look in trail.looks if learn else ():
        remember(owner.looks, look)
    if trail.last.at == view.at:
        owner.template = view.eye.template(trail.last.box)


def _unmoved(owner: Owner, view: View) -> bool:
    """Whether somebody still stands where the owner was lost: the detector misses him, that is all.

    The place looks as it did with him; or much like it, and its upper half, where bags rarely are, is not background.
    """
    box = owner.box
    if box is None or owner.template is None or at_edge(box) or view.at - owner.seen_at > MISSED_S:
        return False
    match = view.eye.match(owner.template, box)
    if match >= UNMOVED[1]:
        return True
    change = view.ground.changed(Box(box.x1, box.y1, box.x2, (box.y1 + box.y2) / 2))
    stands = change.known > 0.5 and change.inside >= STANDING and change.around < 0.85 * change.inside
    return stands and match >= UNMOVED[0]


def _return(bag: Belonging, view: View, nearest: float | None) -> None:
    """Count how long he has been back; somebody who passes by has not come back."""
    if nearest is None:
        bag.back_s = max(0.0, bag.back_s - view.step)
        bag.touch_s = max(0.0, bag.touch_s - view.step)
        return
    bag.back_s += view.step
    bag.touch_s += view.step if nearest <= TOUCH else 0.0
    if bag.back_s >= BACK_S or bag.touch_s >= TOUCH_S:
        bag.away, bag.near_at = False, view.at
        bag.alone_s = bag.back_s = bag.touch_s = 0.0


def _recognise(bag: Belonging, owner: Owner, view: View, reach: float) -> None:
    """Give the owner those tracks that must be his: of one person with his, or of one who looks like him at the bag."""
    owner.ids = list(dict.fromkeys(id_ for base in owner.bases for id_ in view.people.same(base)))
    if any(view.at - one.last.at <= 0.01 and one.last.score >= SURE for one in _trails(owner, view)):
        return
    for trail in view.people.here(view.at):
        other = trail.id in owner.ids or any(view.people.apart(id_, trail.id) for id_ in owner.ids)
        if other or trail.last.score < SURE or not _beside(trail.last.box, bag, view, reach):
            continue
        if trail.looked >= 2 and likeness(owner.looks, trail.looks) >= SAME_PERSON:
            owner.bases.append(trail.id)


def _beside(person: Box, bag: Belonging, view: View, reach: float) -> bool:
    """Whether somebody is near a bag and not just behind it in the picture: he is about as tall as its owner was there.

    Not asked of an owner who has not left yet, for a bag or a wall may hide half of him.
    """
    tall = bag.owner is None or person.height >= BEHIND * bag.owner.height or at_edge(person)
    return tall and distance(person, bag.box, bag.unit(view.aspect), view.aspect) <= reach


def unlike(owner: Owner, trail: Trail) -> bool:
    """Whether somebody else goes by the owner's track now: one went out of the picture where the other came in."""
    return trail.latest is not None and bool(owner.looks) and likeness([trail.latest], owner.looks) < UNLIKE


def _trails(owner: Owner, view: View) -> list[Trail]:
    return [view.people.trails[id_] for id_ in owner.ids if id_ in view.people.trails]


# --- the clocks ------------------------------------------------------------------------------------------------------


def judge(bag: Belonging, at: float, unattended_s: float, abandoned_s: float) -> str:
    """The state of a bag at a time, from when its owner was near it last."""
    if bag.furniture or (bag.confirmed and bag.owner is None):
        return "found"
    if not bag.confirmed or bag.owner is None:
        return "held"
    if not bag.away:
        return "owned"
    left_s = at - bag.near_at
    wanted = "abandoned" if left_s >= abandoned_s else "unattended" if left_s >= unattended_s else "left"
    if wanted in ("left", bag.state):
        return wanted
    due = abandoned_s if wanted == "abandoned" else unattended_s
    in_sight = at - bag.seen_at <= 0.5 or left_s >= due + PATIENCE_S
    proved = bag.alone_s >= SHOWN_ALONE_S and (bag.owner.departed or not bag.found_still)
    if in_sight and proved:
        return wanted
    return bag.state if bag.state == "unattended" else "left"
