"""Posture: who has fallen, and lies.

Physics, in body heights (1.7 m) and seconds. Somebody who topples over brings his head from 1.0 to below 0.3 in 0.4 to
1.5 s, and most of that in the last half second, at 1 to 2 heights a second. Somebody who sits down brings it to 0.75,
who bends or squats to 0.55, each in about a second and mostly for a moment; who lies down on purpose takes 2.5 s and
more. So a fall is: the head goes down by `DROP` at `SPEED` or faster, what is left is low or lies across, and it stays
so for `lying_s`. A wide box alone is nothing (somebody may sit with his legs out), nor is a box cut short from below
(somebody steps behind a table): the head has to come down.

The detector often loses who lies, so three witnesses are heard: the track itself; a weak or new detection at the place;
and the picture (`analyzers._scenery`), which shows what lies there now and did not before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from analyzers._bodies import EDGE, Body

if TYPE_CHECKING:
    from analyzers._scenery import Scenery
    from analyzers._templates import Template

UPRIGHT = (
    1.3  # height by width of somebody who stands, 1.5 from a camera that looks down by 45 degrees, more from others
)
SURE = 0.25  # score of detections that tell who stands; who lies may be seen more weakly
STANDING_S = 0.3  # seen upright for so long before: a box that blinks is nobody who falls
FALL_S = 1.5  # between the last upright sight and the first low one; the slowest fall
DROP = 0.4  # heights by which the head comes down; sitting down takes 0.25
SPEED = 0.6  # heights a second, over the drop; lying down on purpose takes 0.3
EDGE_SPEED = (
    0.9  # at the lower edge: walking out there moves the head by 0.6 under a camera that looks down by 35 degrees
)
GLITCH_S = 0.2  # shorter steps than this are counted as this: a box may jump from one frame to the next
LOW, SQUAT = 0.5, 0.7  # height of what lies, in own heights; narrower than SQUAT of its height it is a pair of legs
ACROSS, LYING = 1.2, 0.75  # width by height of who lies across the picture, and the height he may then have
DEEP = 0.65  # a drop by which he lies along the view, however long that makes him
BACK_UP = 0.3  # of the height: the head has come up again to within this of where it was
RECOVER_S = 0.4  # for so long, and he has got up
GONE_S, LYING_GONE_S = 1.0, 3.0  # without a witness, before and after the fall is told
SEEN_S = 0.35  # he must be seen low over so long; the place alone, unchanged, may just be empty
SETTLE_S = 0.5  # after the first low sight somebody may still slide
CREEP = 0.75  # heights; who moves further is not lying
SAME = 0.5  # correlation of the place where he lies with itself; he may move an arm
BESIDE, HIDDEN = 0.3, 0.2  # heights beside somebody where his luggage is; share of a body that lies there
FORGET_S = 3.0  # who was not seen for longer does not fall any more
MOST = 64  # persons remembered
MARGIN_S = 0.04


@dataclass(frozen=True, slots=True)
class Fallen:
    """Somebody who lies after a fall. `speed` of the head in heights a second, `drop` in heights."""

    person: int
    body: Body
    fell_at: float
    lying_s: float
    drop: float
    speed: float


@dataclass(slots=True)
class _Drop:
    """A fall that may be one. `height` and `top` are those of the person before."""

    height: float
    top: float
    began_at: float
    low_at: float  # first low sight
    drop: float
    speed: float
    body: Body  # latest low sight
    seen_at: float  # latest witness
    anchor: Body
    template: Template | None = None
    up_at: float | None = None  # since when he seems to be up again
    told: bool = False


@dataclass(slots=True)
class _Person:
    upright: deque[Body] = field(default_factory=lambda: deque(maxlen=80))
    seen_at: float = 0.0  # by the detector
    drop: _Drop | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What one frame shows: people by track, and detections that may be people (weak ones, new tracks).

    `looked`: the scenery shows this very frame.
    """

    at: float
    aspect: float
    people: Mapping[int, Body]
    ages: Mapping[int, float]  # s since each was first seen
    loose: Sequence[Body]
    scenery: Scenery
    looked: bool


class Falls:
    """The rule, for one session."""

    def __init__(self, lying_s: float) -> None:
        self.lying_s = lying_s
        self._people: dict[int, _Person] = {}

    def cut(self) -> None:
        self._people.clear()

    def places(self) -> list[Body]:
        """Where somebody lies, or may."""
        return [one.drop.body for one in self._people.values() if one.drop is not None]

    def step(self, view: View) -> list[Fallen]:
        """Who lies now, having fallen."""
        for number in view.people:
            self._people.setdefault(number, _Person()).seen_at = view.at
        self._forget(view.at)
        taken: set[Body] = set()
        told = []
        for number, person in sorted(self._people.items(), key=_latest_first):
            body = view.people.get(number) or self._witness(number, person, view, taken)
            if body is not None and person.drop is None and _behind(body, person, number, view):
                body = None
            if (fallen := self._judge(number, person, body, view)) is not None:
                told.append(fallen)
        return told

    def _forget(self, at: float) -> None:
        def stale(one: _Person) -> bool:
            return one.drop is None and not 0 <= at - one.seen_at <= FORGET_S

        self._people = {number: one for number, one in self._people.items() if not stale(one)}
        for number in sorted(self._people)[:-MOST]:
            del self._people[number]

    # --- witnesses ---------------------------------------------------------------------------------------------------

    def _witness(self, number: int, person: _Person, view: View, taken: set[Body]) -> Body | None:
        """A low body at the place of somebody who is lost: a weak detection, a new track, or a silhouette."""
        if not (person.upright or person.drop):
            return None
        tall = person.drop.height if person.drop else _height(person)
        place = person.drop.body if person.drop else person.upright[-1]
        since = person.drop.began_at if person.drop else place.at
        region = place.grown(tall, 0.0, 0.6 * tall)
        new = [one for id_, one in view.people.items() if id_ != number and view.ages[id_] <= view.at - since + 0.5]
        found = [one for one in (*view.loose, *new) if one not in taken and region.covers(one) > 0.6]
        found = [one for one in found if one.height <= LYING * tall and self._appeared(one, since, view)]
        if found:
            best = max(found, key=lambda one: one.score)
            taken.add(best)
            return best
        if not view.looked:
            return None
        body = view.scenery.silhouette(region, 0.35 * tall * tall, view.aspect)
        return body if body is not None and self._appeared(body, since, view) else None

    def _appeared(self, body: Body, since: float, view: View) -> bool:
        """Whether something is there now that was not while he stood. A coat on a chair is often a weak person."""
        return view.scenery.changed(body.box(view.aspect), since - MARGIN_S)

    # --- the rule ----------------------------------------------------------------------------------------------------

    def _judge(self, number: int, person: _Person, body: Body | None, view: View) -> Fallen | None:
        if person.drop is None:
            if body is not None:
                person.drop = _dropped(person, body)
                if body.score >= SURE and body.height >= UPRIGHT * body.width and person.drop is None:
                    _remember(person, body)
            return None
        return self._lying(number, person, person.drop, body, view)

    def _lying(self, number: int, person: _Person, drop: _Drop, body: Body | None, view: View) -> Fallen | None:
        """Follow somebody who seems to have fallen until he lies long enough, gets up, or is gone."""
        if body is not None and not _is_up(drop, body):
            _stays(drop, body, view)
        elif body is not None:
            drop.up_at = view.at if drop.up_at is None else drop.up_at
        elif drop.template is not None and view.looked:
            box = drop.body.box(view.aspect)
            if view.scenery.match(drop.template, box) >= SAME:
                drop.seen_at = view.at
        up = drop.up_at is not None and view.at - drop.up_at >= RECOVER_S
        gone = view.at - drop.seen_at > (LYING_GONE_S if drop.told else GONE_S)
        crept = abs(drop.body.x - drop.anchor.x) + abs(drop.body.middle - drop.anchor.middle) > CREEP * drop.height
        if up or gone or crept or view.at < drop.low_at:
            person.drop = None
            person.upright.clear()
            return None
        glanced = drop.body.at - drop.low_at < SEEN_S
        if view.at - drop.low_at < self.lying_s or drop.up_at is not None or glanced:
            return None
        drop.told = True
        return Fallen(number, drop.body, drop.began_at, view.at - drop.low_at, drop.drop, drop.speed)


def _behind(body: Body, person: _Person, number: int, view: View) -> bool:
    """Whether it proves little: weakly seen, where somebody else stands, before whom the person may be hidden.

    His legs or his suitcase, seen between two who pass each other, look like one of them lying there.
    """
    if body.score >= SURE and number in view.people:
        return False
    if any(_at_side(one, view.aspect) for one in (body, *list(person.upright)[-1:])):
        return True  # he walks out there, and the rest of him may have any shape
    others = [one for id_, one in view.people.items() if id_ != number and one.score >= SURE and _stands(one)]
    places = [body, *list(person.upright)[-1:]]
    return any(one.grown(BESIDE * one.height, 0, 0).covers(place) > HIDDEN for one in others for place in places)


def _at_side(body: Body, aspect: float) -> bool:
    return body.x - body.width / 2 < EDGE or body.x + body.width / 2 > aspect - EDGE


def _stands(body: Body) -> bool:
    return body.height >= UPRIGHT * body.width


def _latest_first(item: tuple[int, _Person]) -> tuple[bool, float]:
    """Who lies, then who was seen upright last: a witness is his rather than that of somebody lost for longer."""
    person = item[1]
    return person.drop is None, -person.upright[-1].at if person.upright else 0.0


def _remember(person: _Person, body: Body) -> None:
    if person.upright and 0 <= body.at - person.upright[-1].at < MARGIN_S - 0.005:
        return
    person.upright.append(body)
    while person.upright and not 0 <= body.at - person.upright[0].at <= FORGET_S:
        person.upright.popleft()


def _height(person: _Person) -> float:
    """Of somebody who stands or stood: the median of the last 1.5 s, which no single box moves."""
    latest = person.upright[-1].at
    return median(one.height for one in person.upright if latest - one.at <= FALL_S)


def _dropped(person: _Person, body: Body) -> _Drop | None:
    """The drop that ends in this sight, if it is one."""
    stood = person.upright
    if len(stood) < 2 or stood[-1].at - stood[0].at < STANDING_S or body.at - stood[-1].at > FALL_S:
        return None
    tall = _height(person)
    falls = [((body.top - one.top) / tall, max(GLITCH_S, body.at - one.at), one) for one in stood]
    falls = [fall for fall in falls if fall[0] >= DROP and fall[1] <= FALL_S]
    if not falls:
        return None
    drop, took, start = max(falls, key=lambda fall: fall[0] / fall[1])
    deepest = max(fall[0] for fall in falls)
    if drop / took < (EDGE_SPEED if body.foot > 1 - EDGE else SPEED) or not _is_low(body, tall, deepest):
        return None
    return _Drop(tall, start.top, start.at, body.at, drop, drop / took, body, body.at, body)


def _is_low(body: Body, tall: float, drop: float) -> bool:
    if body.height <= LOW * tall:
        return body.width >= SQUAT * body.height
    return body.height <= LYING * tall and (body.width >= ACROSS * body.height or drop >= DEEP)


def _is_up(drop: _Drop, body: Body) -> bool:
    tall = body.height > LYING * drop.height and body.height >= UPRIGHT * body.width
    return tall or body.top < drop.top + BACK_UP * drop.height


def _stays(drop: _Drop, body: Body, view: View) -> None:
    """Another sight of him low."""
    drop.seen_at, drop.body, drop.up_at = view.at, body, None
    if view.at - drop.low_at <= SETTLE_S:
        drop.anchor = body
    if view.looked:
        drop.template = view.scenery.template(body.box(view.aspect))
