"""Bags: whose they are, and which were left behind or taken.

Two paths find a bag. The detector knows what a bag looks like, but loses many of them, mostly once nobody stands beside
them; so one sighting more or less counts for little, and whether a bag is still there is seen in the picture at its
place. The background model knows nothing of bags, but sees what stands where nothing stood before; such a thing counts
if a person brought it. Who was at a place while the thing came there is its owner, and the clocks run from the moment
he was near it last. `analyzers._bag_rules` has the rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2

from analyzers._bag_background import SIDE, Background
from analyzers._bag_people import SURE, People
from analyzers._bag_rules import Sight, View
from analyzers._belongings import Belongings, Rules
from analyzers._templates import Template
from analyzers._thumbnail import thumbnail
from gateway import Analyzer, Box, Detection, Frame, Result, SessionInfo, Sighting, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from analyzers._bag_rules import Belonging, Removal
    from analyzers._templates import Grey

STEP_S = 0.19  # a look about every 0.2 s: bags do not hurry, and five frames a second say what 25 do
LOOK_SIDE = 640  # px of the longer side of the picture in which places are compared
PERSON = "person"
LEAST_SIGHT = 0.05  # score of a detection that may be one of a bag; what `objects` gives away at all
TWIN = 0.5  # overlap (IoU) of detections of two classes that are one bag
CARRIED = 0.25  # score of a bag that is not at rest and is told all the same
UNSURE_S = 2.0  # a person seen surely so lately hides what is behind him, however weakly he is seen now
BLINK_S = 1.0  # and one not seen at all for no longer is where he was
SHOT_PX = 160  # px of the longer side of an owner's picture


@dataclass(frozen=True)
class BagsOptions:
    unattended_s: float = 10.0  # s after the owner has left until a bag is unattended
    abandoned_s: float = 30.0  # s after the owner has left until it is abandoned
    owner_distance: float = 3.0  # bag heights between a bag and its owner up to which he is with it
    bag_labels: tuple[str, ...] = ("backpack", "handbag", "suitcase")  # the detector's classes that are bags
    without_class: bool = True  # also find things that the detector has no class for, if a person left them
    min_size: float = 0.03  # of the picture's longer side: the longer side of what is found without a class
    linger_s: float = 2.0  # s without the condition until an event ends

    def __post_init__(self) -> None:
        for name in ("unattended_s", "abandoned_s"):
            if not 0 < getattr(self, name) <= 86400:
                raise ValueError(f"{name} must be above 0 and up to 86400 s, got {getattr(self, name)}")
        if not 0.2 <= self.owner_distance <= 50:
            raise ValueError(f"owner_distance must be 0.2-50 bag heights, got {self.owner_distance}")
        if not 0 < self.min_size <= 1:
            raise ValueError(f"min_size must be above 0 and up to 1, got {self.min_size}")
        if not 0 <= self.linger_s <= 3600:
            raise ValueError(f"linger_s must be 0-3600 s, got {self.linger_s}")


@dataclass(slots=True)
class _Memory:
    options: BagsOptions
    belongings: Belongings
    people: People = field(default_factory=People)
    ground: Background = field(default_factory=Background)
    at: float | None = None  # of the last look
    shape: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class _Eye:
    grey: Grey

    def template(self, box: Box) -> Template:
        return Template(self.grey, box)

    def match(self, template: Template, box: Box, *, learn: bool = False) -> float:
        return template.match(self.grey, box, learn=learn)


class BagsAnalyzer(Analyzer):
    """Bags with their owners, and events for those left alone or taken."""

    name = "bags"
    title = "Bags"
    needs = ("tracks",)
    labels = ("bag", "object")
    event_types = ("unattended", "abandoned", "removed")
    side = LOOK_SIDE
    Options = BagsOptions
    options: BagsOptions

    def open(self, session: SessionInfo) -> _Memory:
        return _Memory(session.options, Belongings(_rules(session.options)))

    def configure(self, session: SessionInfo, memory: _Memory) -> _Memory:
        """What is known stays; the new limits hold from now on."""
        memory.options = session.options
        memory.belongings.configure(_rules(session.options))
        return memory

    def analyze(self, frame: Frame, memory: _Memory) -> Result:
        if memory.at is None or not 0 <= frame.at - memory.at < STEP_S:
            _look(frame, memory)
        return _result(frame, memory)


def _rules(options: BagsOptions) -> Rules:
    return Rules(
        options.unattended_s,
        options.abandoned_s,
        options.owner_distance,
        options.min_size,
        background=options.without_class,
    )


# --- looking ---------------------------------------------------------------------------------------------------------


def _look(frame: Frame, memory: _Memory) -> None:
    step = 0.0 if memory.at is None else min(1.0, max(0.0, frame.at - memory.at))
    memory.at = frame.at
    grey = cv2.cvtColor(frame.scaled(LOOK_SIDE), cv2.COLOR_BGR2GRAY)  # the larger picture first: it is decoded once
    small = frame.scaled(SIDE)
    tracked = [one for one in frame.results["tracks"].detections if one.track_id is not None and one.label == PERSON]
    persons = [(one.track_id or 0, one.box, one.score) for one in tracked]
    aspect = frame.width / frame.height
    memory.people.step(frame.at, persons, began_at=memory.ground.began_at, aspect=aspect)
    hiding = [one for one in memory.people.here(frame.at) if frame.at - one.sure_at <= UNSURE_S]
    if memory.ground.look(small, frame.at, [one.last.box for one in hiding]):
        memory.belongings.cut(frame.at)
        memory.people.cut()
        memory.people.step(frame.at, persons, began_at=frame.at, aspect=aspect)
    memory.people.look(small, frame.at)
    memory.people.shoot(frame.at, frame.seq, lambda box: thumbnail(frame, box, side=SHOT_PX))
    memory.belongings.step(_view(frame, memory, step, _Eye(grey)))  # type: ignore[arg-type]
    memory.people.forget(frame.at, memory.belongings.needed)


def _view(frame: Frame, memory: _Memory, step: float, eye: _Eye) -> View:
    aspect = frame.width / frame.height
    solid = [one for one in memory.people.here(frame.at, within=BLINK_S) if frame.at - one.sure_at <= BLINK_S]
    return View(
        frame.at,
        step,
        aspect,
        memory.people,
        [one.last.box for one in solid if one.rooted or one.walked or frame.at - one.began_at < 3.0],
        [one.box for one in frame.results["tracks"].faint if one.label == PERSON],
        _sights(frame, memory.options),
        memory.ground.blobs(memory.options.min_size) if memory.options.without_class else [],
        eye,
        memory.ground,
    )


def _sights(frame: Frame, options: BagsOptions) -> list[Sight]:
    """Bags of all classes as one kind, best first, each once."""
    seen = frame.results["tracks"]
    weak = (one for one in seen.faint if not one.attributes.get("unseen_s"))
    found = [one for one in (*seen.detections, *weak) if one.label in options.bag_labels and one.score >= LEAST_SIGHT]
    sights: list[Sight] = []
    for one in sorted(found, key=lambda one: (one.track_id is None, -one.score)):
        if all(one.box.iou(other.box) < TWIN for other in sights):
            sights.append(Sight(one.label, one.score, one.box, one.track_id))
    return sights


# --- telling ---------------------------------------------------------------------------------------------------------


def _result(frame: Frame, memory: _Memory) -> Result:
    bags = [
        bag
        for bag in memory.belongings.bags
        if bag.limbo_at is None and (bag.confirmed or (bag.furniture and bag.score >= CARRIED))
    ]
    carried = list(_carried(frame, memory.options, bags))
    owned = sum(bag.state == "owned" for bag in bags) + len(carried)
    sightings = [_alarm(bag, memory) for bag in bags if bag.state in ("unattended", "abandoned")]
    sightings += [_removed(one, memory.options) for one in memory.belongings.removals]
    return Result(
        (*(_told(bag) for bag in bags), *carried),
        measures={"bags": len(bags) + len(carried), "owned": owned},
        sightings=tuple(sightings),
    )


def _told(bag: Belonging) -> Detection:
    attributes: dict[str, Any] = {"state": bag.state, "bag_id": bag.name}
    if bag.owner is not None and bag.owner.name:
        attributes["owner"] = bag.owner.name
    return Detection(bag.label, min(1.0, max(0.0, bag.score)), bag.box, bag.id, attributes)


def _carried(frame: Frame, options: BagsOptions, resting: Iterable[Belonging]) -> Iterable[Detection]:
    """Bags in somebody's hands."""
    seen = frame.results["tracks"].detections
    persons = [one for one in seen if one.label == PERSON and one.score >= SURE]
    places = [bag.box for bag in resting]
    for one in seen:
        if one.label not in options.bag_labels or one.score < CARRIED or one.track_id is None:
            continue
        holder = max(persons, key=lambda person: person.box.intersection(one.box), default=None)
        if holder is None or holder.box.intersection(one.box) <= 0 or any(one.box.iou(box) > 0.2 for box in places):
            continue
        attributes: dict[str, Any] = {"state": "carried", "kind": one.label}
        if holder.track_id is not None:
            attributes["owner"] = f"person-{holder.track_id}"
        yield Detection("bag", one.score, one.box, None, attributes)


def _alarm(bag: Belonging, memory: _Memory) -> Sighting:
    left_s = (memory.at or 0.0) - bag.near_at
    return Sighting(
        bag.state,
        key=bag.name,
        score=min(1.0, max(0.5, bag.score)),
        label=bag.label,
        box=bag.box,
        severity="critical" if bag.state == "abandoned" else "warning",
        linger_s=memory.options.linger_s,
        person_id=bag.owner.name if bag.owner else None,
        bag_id=bag.name,
        data={"left_at": round(bag.near_at, 2), "left_s": round(left_s, 1), **_owner_data(bag)},
    )


def _removed(one: Removal, options: BagsOptions) -> Sighting:
    return Sighting(
        "removed",
        key=one.bag.name,
        label=one.bag.label,
        box=one.bag.box,
        severity="info" if one.by_owner else "critical",
        linger_s=options.linger_s,
        person_id=one.bag.owner.name if one.bag.owner else None,
        bag_id=one.bag.name,
        data={
            "by_owner": one.by_owner,
            "taken_by": one.taker,
            "seen_at": round(one.bag.seen_at, 2),
            **_owner_data(one.bag),
        },
    )


def _owner_data(bag: Belonging) -> dict[str, Any]:
    """The owner's last picture while he was beside the bag, with its place and time."""
    shot = bag.owner.shot if bag.owner else None
    if shot is None:
        return {"owner_seen": None}
    box = [round(value, 5) for value in shot.box]
    return {"owner_seen": {"seq": shot.seq, "at": round(shot.at, 2), "box": box, "jpeg": shot.jpeg}}


@hookimpl
def register_analyzers() -> list[type[Analyzer]]:
    return [BagsAnalyzer]
