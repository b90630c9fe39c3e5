"""Zones counts who enters, leaves and crosses, and tells who stays, crowds or should not be there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analyzers.tracks import TracksAnalyzer, TracksOptions
from analyzers.zones import ZonesAnalyzer, ZonesOptions
from bench.walkers import Detector, Scene, Walker, looks, still, straight
from gateway import Box, Detection, Event, Frame, Line, Result, SessionInfo, Zone
from gateway.analyzer import check_analyzer
from gateway.events import EventMachine
from gateway.geometry import Areas, Shape, placed

HALL = Zone("hall", ((0.3, 0.0), (0.7, 0.0), (0.7, 1.0), (0.3, 1.0)))
GATE = Line("gate", ((0.5, 0.0), (0.5, 1.0)))
START = datetime(2026, 1, 1, tzinfo=UTC)


class Stream:
    """Tracks and zones over frames, with the zones filled in as the host does it."""

    def __init__(self, *shapes: Shape, **options: Any) -> None:
        self.tracks, self.zones = TracksAnalyzer(TracksOptions()), ZonesAnalyzer(ZonesOptions(**options))
        self.areas = Areas(shapes)
        self.memory = self.zones.open(SessionInfo("test", options=self.zones.options, zones=shapes))
        self.followed = self.tracks.open(SessionInfo("test", options=self.tracks.options))
        self.machine = EventMachine("test")
        self.events: list[Event] = []
        self.result = Result()
        self.moved: dict[str, list[Any]] = {"entered": [], "left": []}

    def see(self, at: float, found: Iterable[Detection]) -> Result:
        frame = Frame(round(at * 100), at, 1280, 720, b"", at=at)
        strong = tuple(one for one in found if one.score > 0.25)
        seen = {"objects": Result(strong, faint=tuple(one for one in found if one.score <= 0.25))}
        seen["tracks"] = placed(self.tracks.analyze(replace(frame, results=seen), self.followed), self.areas)
        self.result = self.zones.analyze(replace(frame, results=seen), self.memory)
        for key, items in self.result.data.items():
            self.moved[key] += items
        utc = START + timedelta(seconds=at)
        self.events += self.machine.expire(at)
        self.events += self.machine.observe(
            "zones", "1", list(self.result.sightings), now=at, utc=utc, seq=round(at * 100)
        )
        return self.result

    def play(self, scene: Scene, fps: float, detector: Detector, seed: int = 0) -> None:
        for look in looks(scene, fps, detector, seed):
            self.see(look.at, look.found)

    def began(self, kind: str) -> list[Event]:
        return [event for event in self.events if (event.event_type, event.phase) == (kind, "new")]


PERFECT = Detector(misses=0, weak=0, false=0, tremble=0, cut=0)
ROUGH = Detector(misses=0.15, weak=0.1, false=0.0, tremble=0.02, cut=0.0)


def scene(*places: Any, seconds: float = 12) -> Scene:
    return Scene("test", seconds, tuple(Walker(number + 1, place) for number, place in enumerate(places)))


def through() -> Scene:
    """One walks from left to right, one from right to left behind him, one stands outside."""
    return scene(straight((0.05, 0.95), (0.6, 0), 0.4), straight((0.95, 0.6), (-0.6, 0), 0.35), still(0.9, 0.8, 0.3))


def test_the_class_keeps_the_contract() -> None:
    check_analyzer(ZonesAnalyzer)


def test_without_zones_it_says_nothing() -> None:
    stream = Stream()
    assert stream.see(0.0, [Detection("person", 0.9, Box(0.4, 0.2, 0.5, 0.8))]) == Result()


@pytest.mark.parametrize("fps", [25, 10, 5, 2])
@pytest.mark.parametrize("detector", [PERFECT, ROUGH], ids=["perfect", "rough"])
def test_who_walks_through_is_counted_once_at_any_rate(fps: float, detector: Detector) -> None:
    stream = Stream(HALL, GATE)
    stream.play(through(), fps, detector, seed=3)
    measures = dict(stream.result.measures)
    measures.pop("hall.dwell_s")
    assert measures == {
        "hall.count": 0,
        "hall.entered": 2,
        "hall.left": 2,
        "gate.left_to_right": 1,
        "gate.right_to_left": 1,
    }
    assert sorted(event.data["direction"] for event in stream.began("line_crossed")) == [
        "left_to_right",
        "right_to_left",
    ]
    assert {event.event_type for event in stream.events} == {"line_crossed"}
    assert [len(stream.moved[key]) for key in ("entered", "left")] == [2, 2]


def test_standing_on_a_line_crosses_nothing() -> None:
    stream = Stream(HALL, GATE)
    stream.play(scene(still(0.5, 0.9, 0.5), still(0.6, 0.6, 0.4), seconds=20), 10, ROUGH)
    assert stream.began("line_crossed") == []
    assert [stream.result.measures[f"hall.{key}"] for key in ("count", "entered", "left")] == [2, 2, 0]


def test_a_crossing_is_an_event_that_begins_and_ends_and_says_who() -> None:
    stream = Stream(GATE)
    stream.play(scene(straight((0.2, 0.9), (0.6, 0), 0.4), seconds=8), 10, PERFECT)
    new, end = stream.events
    assert (new.phase, end.phase, new.id) == ("new", "end", end.id)
    assert (new.person_id, new.zones, new.label, new.severity) == ("person-1", ("gate",), "person", "info")
    assert new.data == {"line": "gate", "direction": "right_to_left", "track_id": 1}


def test_loitering_is_told_when_the_time_is_over_and_ends_with_the_stay() -> None:
    stream = Stream(HALL, loiter_s=5)

    def stays_and_goes(at: float) -> tuple[float, float, float]:
        return 0.5 + 0.2 * max(0.0, at - 8), 0.9, 0.4

    stream.play(scene(stays_and_goes, still(0.9, 0.8, 0.3), seconds=14), 10, PERFECT)
    (event,) = stream.began("loitering")
    id_ = event.data["track_id"]
    assert event.data == {"zone": "hall", "dwell_s": 5.0, "track_id": id_}
    assert (event.zones, event.person_id, event.severity) == (("hall",), f"person-{id_}", "warning")
    assert [one.phase for one in stream.events if one.id == event.id][-1] == "end"


def test_a_zone_may_have_limits_of_its_own() -> None:
    own = replace(HALL, name="own", loiter_s=2.0, crowd=2)
    stream = Stream(HALL, own, loiter_s=0, crowd=0, crowd_s=1)
    stream.play(scene(still(0.4, 0.9, 0.4), still(0.6, 0.8, 0.4), seconds=5), 10, PERFECT)
    assert {event.zones for event in stream.events} == {("own",)}
    assert [len(stream.began(kind)) for kind in ("loitering", "crowd")] == [2, 1]


def test_a_crowd_must_last_and_survives_a_gap() -> None:
    three = [still(0.35 + 0.12 * number, 0.8 + 0.02 * number, 0.4) for number in range(3)]
    stream = Stream(HALL, crowd=3, crowd_s=3)
    stream.play(scene(*three, seconds=10), 10, ROUGH)
    (event,) = stream.began("crowd")
    assert event.data == {"zone": "hall", "count": 3, "limit": 3}
    assert 3 <= (event.started_at - START).total_seconds() < 5
    stream = Stream(HALL, crowd=4, crowd_s=3)
    stream.play(scene(*three, seconds=10), 10, ROUGH)
    assert stream.began("crowd") == []


def test_only_a_zone_marked_so_is_intruded_on() -> None:
    stream = Stream(HALL, replace(HALL, name="vault", intrusion=True), loiter_s=0)
    stream.play(through(), 10, PERFECT)
    events = stream.began("intrusion")
    assert [(event.zones, event.severity) for event in events] == [(("vault",), "critical")] * 2
    assert events[0].data.keys() == {"zone", "dwell_s", "track_id"}


def test_only_the_labels_asked_for_count() -> None:
    bag = Detection("suitcase", 0.9, Box(0.45, 0.6, 0.55, 0.8))
    for labels, count in ((("person",), 0), (("suitcase",), 1)):
        stream = Stream(HALL, labels=labels)
        for number in range(10):
            stream.see(number / 5, [bag])
        assert stream.result.measures["hall.count"] == count


def test_zones_that_stay_go_on_counting_and_new_ones_begin_at_nothing() -> None:
    stream = Stream(HALL, GATE)
    stream.play(through(), 5, PERFECT)
    shapes = (replace(HALL, loiter_s=3.0), GATE, replace(HALL, name="new"))
    session = SessionInfo("test", options=stream.zones.options, zones=shapes)
    stream.memory = stream.zones.configure(session, stream.memory)
    measures = stream.see(20.0, []).measures
    assert [measures[key] for key in ("hall.entered", "gate.left_to_right", "new.entered")] == [2, 1, 0]


@pytest.mark.parametrize("wrong", [{"loiter_s": -1}, {"crowd": 1}, {"crowd_s": -1}, {"linger_s": -1}])
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ZonesOptions(**wrong)
