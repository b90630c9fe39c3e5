"""The bags of one session: found, given owners, watched and counted, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analyzers._bag_arrivals import Arrivals
from analyzers._bag_looks import likeness
from analyzers._bag_people import Place, covered, touching
from analyzers._bag_rules import (
    CONFIRM_S,
    GONE_S,
    LIMBO_S,
    PRESENT,
    REMOVED_S,
    SAME_PERSON,
    Belonging,
    Owner,
    Removal,
    elsewhere,
    follow,
    judge,
    own,
    unlike,
    watch,
)

if TYPE_CHECKING:
    from analyzers._bag_arrivals import Candidate
    from analyzers._bag_people import Trail
    from analyzers._bag_rules import View
    from gateway import Box

NEW = 0.25  # share of a place that differs from the background, from which on something has come there
CLAIM_S = 3.0  # how long after it is confirmed a bag may find its owner
FROM_START_SCORE = 0.15  # of a bag that was there when the scene began: nothing but the detector says that it is one
STRONG = 0.3  # of one that came, but nobody was seen with it, or the background does not show it
STANDS_OUT = 0.5  # where as much changes around a thing, it is the scene that changes: a train comes, a door opens
SHADOW = 0.5  # bag heights: so near to a bag, another still thing of the same person is its shadow or reflection
MOST = 64  # bags at once; the oldest without an owner go first
TAKER_S = 2.5  # before and after a thing was seen last, who was at it may have taken it


@dataclass(slots=True)
class Rules:
    """What a session may choose."""

    unattended_s: float = 10.0
    abandoned_s: float = 30.0
    reach: float = 3.0  # bag heights
    least: float = 0.03  # of the picture's longer side
    detector: bool = True
    background: bool = True


@dataclass(slots=True)
class Belongings:
    """All bags at rest in one session. One `step` a look."""

    rules: Rules
    bags: list[Belonging] = field(default_factory=list)
    removals: list[Removal] = field(default_factory=list)
    arrivals: Arrivals = field(init=False)
    _last_id: int = 0

    def __post_init__(self) -> None:
        self.arrivals = Arrivals(self.rules.least)

    def configure(self, rules: Rules) -> None:
        self.rules, self.arrivals.least = rules, rules.least

    @property
    def needed(self) -> set[int]:
        """Tracks of owners, which must not be forgotten."""
        return {id_ for bag in self.bags if bag.owner for id_ in (*bag.owner.bases, *bag.owner.ids)}

    def cut(self, at: float) -> None:
        """The picture shows another scene. What was known of this one waits for it to come back."""
        self.arrivals.clear()
        self.bags = [bag for bag in self.bags if bag.confirmed and bag.owner]
        for bag in self.bags:
            bag.limbo_at = at if bag.limbo_at is None else bag.limbo_at
            bag.newness = 0.0  # the background that it differed from is forgotten

    def step(self, view: View) -> None:
        self.removals = [one for one in self.removals if view.at - one.at <= REMOVED_S]
        for bag in [one for one in self.bags if one.limbo_at is not None]:
            self._remember(bag, view)
        here = [bag for bag in self.bags if bag.limbo_at is None]
        for bag in here:
            watch(bag, view)
            self._settle(bag, view)
            follow(bag, view, self.rules.reach)
            bag.state = judge(bag, view.at, self.rules.unattended_s, self.rules.abandoned_s)
            bag.alarmed |= bag.state in ("unattended", "abandoned")
        for bag in here:
            if bag.absent_s >= GONE_S or (not bag.confirmed and view.at - bag.seen_at > 5.0):
                self._lose(bag, view)
        self._find(view)

    def _remember(self, bag: Belonging, view: View) -> None:
        """After a cut: what is still in its place has never been away."""
        if view.eye.match(bag.template, bag.box) >= PRESENT:
            bag.limbo_at, bag.absent_s, bag.seen_at = None, 0.0, view.at
        elif bag.limbo_at is not None and view.at - bag.limbo_at > LIMBO_S:
            self.bags.remove(bag)

    # --- finding ----------------------------------------------------------------------------------------------------

    def _find(self, view: View) -> None:
        known = [bag for bag in self.bags if bag.limbo_at is None]
        if self.rules.detector:
            for one in self.arrivals.seen(view, known):
                self._seen(one, view)
        if self.rules.background:
            for one, trail in self.arrivals.still(view, [bag for bag in self.bags if bag.limbo_at is None]):
                if self._is_part(one, trail):
                    view.ground.accept(one.box)
                    continue
                bag = self._add(one, "object", 0.5, view)
                bag.found_still = bag.confirmed = True
                bag.newness = view.ground.changed(one.box).inside
                bag.clean_at = min(view.ground.clean_at(one.box), one.first_at)
                own(bag, trail, view, self.rules.reach)
                view.ground.hold(bag.box)
        while len(self.bags) > MOST:
            self.bags.remove(min(self.bags, key=lambda bag: (bag.owner is not None, bag.since)))

    def _is_part(self, one: Candidate, trail: Trail) -> bool:
        """Whether a still region is the shadow or the reflection of a bag of the same person."""
        near = (bag for bag in self.bags if not bag.found_still and bag.owner and trail.id in bag.owner.ids)
        return any(_gap(one.box, bag.box) < SHADOW * bag.box.height for bag in near)

    def _seen(self, one: Candidate, view: View) -> None:
        bag = self._add(one, "bag", min(1.0, one.score / one.hits), view)
        bag.clean_at = min(view.ground.clean_at(one.box), one.first_at)
        bag.track_ids = set(one.track_ids)
        if (trail := self._brought(bag, one, view)) is not None:
            own(bag, trail, view, self.rules.reach)
            bag.carried = bool(self.arrivals.carried(one))
            self._drop_parts(bag, trail, view)

    def _drop_parts(self, bag: Belonging, trail: Trail, view: View) -> None:
        """Forget what the background model took for a thing of its own."""
        for other in list(self.bags):
            same = other.found_still and not other.alarmed and other.owner and trail.id in other.owner.ids
            if same and _gap(other.box, bag.box) < SHADOW * bag.box.height:
                self.bags.remove(other)
                view.ground.accept(other.box)

    def _brought(self, bag: Belonging, one: Candidate, view: View) -> Trail | None:
        place = Place(bag.box, bag.clean_at, bag.since)
        return view.people.brought(place, self.arrivals.carried(one), view.aspect)

    def _add(self, one: Candidate, label: str, score: float, view: View) -> Belonging:
        self._last_id += 1
        template = view.eye.template(one.box)
        bag = Belonging(self._last_id, label, one.box, score, one.first_at, one.first_at, template, seen_at=view.at)
        self.bags.append(bag)
        return bag

    # --- becoming one -----------------------------------------------------------------------------------------------

    def _settle(self, bag: Belonging, view: View) -> None:
        """Once it has been in plain sight: whether it came here, was here from the start, or belongs to the place."""
        if bag.confirmed or bag.furniture or bag.shown_s < CONFIRM_S:
            return
        change = view.ground.changed(bag.box)
        stands_out = change.inside >= NEW and (change.around < STANDS_OUT * change.inside or bag.score >= STRONG)
        new = (bag.carried and bag.score >= STRONG) or (change.known > 0.3 and stands_out)
        if not new and change.known < 0.3:
            return
        bag.newness = change.inside if new and stands_out else 0.0
        if not new and (change.inside >= NEW or view.ground.known_at(bag.box) < bag.since - 1.0):
            bag.furniture = True  # the background has always looked like that
        elif bag.owner is not None:
            bag.confirmed = new or bag.score >= FROM_START_SCORE
        elif (trail := view.people.brought(Place(bag.box, bag.clean_at, bag.since), (), view.aspect)) is not None:
            own(bag, trail, view, self.rules.reach)
        elif bag.shown_s >= CLAIM_S:
            self._nobodys(bag, new=new)

    def _nobodys(self, bag: Belonging, *, new: bool) -> None:
        bag.furniture = not new or bag.score < STRONG
        if not bag.furniture:
            bag.confirmed, bag.away, bag.near_at = True, True, bag.since
            bag.owner = Owner([], [], bag.since, departed=True)

    # --- going ------------------------------------------------------------------------------------------------------

    def _lose(self, bag: Belonging, view: View) -> None:
        self.bags.remove(bag)
        if not bag.confirmed or bag.owner is None:
            return
        view.ground.accept(bag.box)
        if bag.alarmed or (bag.away and not bag.found_still and bag.score >= STRONG):
            taker = self._taker(bag, view)
            by_owner = taker is not None and _is_owner(bag.owner, taker, view)
            stranger = f"person-{taker.id}" if taker is not None and taker.id not in bag.owner.ids else None
            name = bag.owner.name if by_owner else stranger
            self.removals.append(Removal(view.at, bag, by_owner, name))

    def _taker(self, bag: Belonging, view: View) -> Trail | None:
        """Who was at the bag most while it was seen last, or has it now; an owner who had not left counts thrice."""
        claims = []
        for trail in view.people.here(view.at, within=2 * TAKER_S):
            steps = [step for step in trail.steps if abs(step.at - bag.seen_at) <= TAKER_S]
            claim = sum(touching(step.box, bag.box, view.aspect) for step in steps)
            claim += len(steps) * sum(covered(one.box, [trail.last.box]) for one in elsewhere(bag, view))
            if bag.owner is not None and _is_owner(bag.owner, trail, view):
                claim *= 1.0 if bag.away else 3.0
            claims.append((claim, trail.id))
        claim, id_ = max(claims, default=(0.0, 0))
        return view.people.trails[id_] if claim > 0 else None


def _gap(one: Box, other: Box) -> float:
    """Between two boxes, in heights of the picture."""
    x = max(0.0, one.x1 - other.x2, other.x1 - one.x2)
    y = max(0.0, one.y1 - other.y2, other.y1 - one.y2)
    return max(x, y)


def _is_owner(owner: Owner, taker: Trail, view: View) -> bool:
    if taker.id in owner.ids:
        return not unlike(owner, taker)
    other = any(view.people.apart(id_, taker.id) for id_ in owner.ids)
    return not other and likeness(owner.looks, taker.looks) >= SAME_PERSON
