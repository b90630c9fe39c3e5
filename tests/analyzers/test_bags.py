"""Rules of the bags analyzer, on drawn scenes. Where nothing else is said: unattended after 3 s, abandoned after 8."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from analyzers.bags import BagsAnalyzer, BagsOptions
from analyzers.tracks import TracksAnalyzer
from gateway import Detection, SessionInfo
from gateway.analyzer import fill_options
from gateway.errors import UnknownOption
from tests.analyzers.bag_scenes import Bag, Person, Scene, events, told, watched

if TYPE_CHECKING:
    from typing import Any

    from gateway import Event

    Picture = np.ndarray[Any, Any]

LEAVES = 11.2  # s: LEAVER is three bag heights away
LEAVER = Person([(0, -20, 150), (4, 136, 150), (8, 136, 150), (14, 340, 150)])
LEFT = Bag((150, 150), since=4, by=LEAVER)
SUITCASE = replace(LEFT, score=0.6)
GREEN: dict[str, Any] = {"coat": (60, 140, 60), "trousers": (30, 60, 120)}
ALARMS = ["unattended", "abandoned"]


def types(seen: list[Event]) -> list[str]:
    return [event.event_type for event in seen if event.phase == "new"]


def begun(seen: list[Event], event_type: str) -> Event:
    (event,) = [event for event in seen if event.phase == "new" and event.event_type == event_type]
    return event


def seconds(event: Event) -> float:
    return event.started_at.minute * 60 + event.started_at.second + event.started_at.microsecond / 1e6


@pytest.mark.parametrize("bag", [LEFT, SUITCASE], ids=["a thing without a class", "a suitcase"])
@pytest.mark.slow
def test_the_clocks_count_from_when_the_owner_has_left(bag: Bag) -> None:
    seen = events(Scene([LEAVER], [bag]))
    assert types(seen) == ALARMS
    assert seconds(begun(seen, "unattended")) == pytest.approx(LEAVES + 3, abs=0.5)
    assert seconds(begun(seen, "abandoned")) == pytest.approx(LEAVES + 8, abs=0.6)


@pytest.mark.parametrize("fps", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_the_frame_rate_changes_nothing(fps: float) -> None:
    seen = events(Scene([LEAVER], [LEFT], fps=fps, seconds=22))
    assert types(seen) == ALARMS
    assert seconds(begun(seen, "abandoned")) == pytest.approx(LEAVES + 8, abs=1.0)


def test_a_bag_stays_though_the_detector_sees_it_no_more() -> None:
    seen = events(Scene([LEAVER], [replace(SUITCASE, score=0.3, seen=lambda at: at < 9)]), without_class=False)
    assert types(seen) == ALARMS


@pytest.mark.slow
def test_a_bag_that_is_seen_now_and_then_is_one_bag() -> None:
    seen = events(Scene([LEAVER], [replace(SUITCASE, score=0.15, seen=lambda at: int(at * 5) % 2 == 0)]))
    assert types(seen) == ALARMS
    assert {event.bag_id for event in seen} == {"bag-1"}


def test_without_the_background_path_a_thing_without_a_class_is_nothing() -> None:
    assert told(Scene([LEAVER], [LEFT]), without_class=False) == []


def test_an_owner_who_stays_is_no_alarm() -> None:
    results, seen = watched(Scene([Person([*LEAVER.path[:2], (22, 136, 150)])], [SUITCASE]))
    assert seen == []
    assert results[-1].measures == {"bags": 1, "owned": 1}


def test_an_owner_whom_the_detector_misses_has_not_left() -> None:
    sitter = Person([*LEAVER.path[:2], (22, 136, 150)], missed=[(8, 14), (16, 21)])
    assert told(Scene([sitter], [SUITCASE])) == []


def test_a_few_steps_away_and_back_are_no_leaving() -> None:
    walker = Person([*LEAVER.path[:3], (9.5, 210, 150), (11, 136, 150), (25, 136, 150)])
    assert told(Scene([walker], [SUITCASE], seconds=25)) == []


def test_an_owner_who_passes_by_has_not_come_back() -> None:
    passer = Person([*LEAVER.path, (16, 345, 118), (20.5, -20, 118)])
    assert types(events(Scene([passer], [SUITCASE]))) == ALARMS


@pytest.mark.slow
def test_owner_distance_is_in_bag_heights() -> None:
    """He stops four bag heights away and waits there."""
    waiter = Person([*LEAVER.path[:3], (12, 159 + 4 * 24 + 13, 150), (24, 159 + 4 * 24 + 13, 150)])
    scene = Scene([waiter], [SUITCASE], seconds=24)
    assert types(events(scene, owner_distance=3.0)) == ALARMS
    assert types(events(scene, owner_distance=5.0)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "stranger",
    [
        Person([(0, 178, 152), (24, 178, 152)], **GREEN),
        Person([(0, 340, 152), (1, 340, 152), (11, 178, 152), (24, 178, 152)], **GREEN),
        Person([(9, -20, 170), (12, 140, 170), (16, 152, 170), (20, 340, 170)], height=90, **GREEN),
    ],
    ids=["stands there from the start", "comes and stays beside it", "stands before it for a while"],
)
def test_a_stranger_beside_it_stops_no_clock(stranger: Person) -> None:
    seen = events(Scene([LEAVER, stranger], [SUITCASE], seconds=24))
    assert types(seen) == ALARMS
    assert seconds(begun(seen, "abandoned")) == pytest.approx(LEAVES + 8, abs=1.0)


def test_a_thief_is_not_the_owner() -> None:
    thief = Person([(14, 340, 150), (20, 160, 150), (21, 160, 150), (27, -20, 150)], **GREEN)
    seen = events(Scene([LEAVER, thief], [replace(LEFT, until=21, taken=thief)], seconds=28))
    assert types(seen) == [*ALARMS, "removed"]
    removed = begun(seen, "removed")
    assert removed.data["by_owner"] is False
    assert removed.severity == "critical"
    assert removed.data["taken_by"] != removed.person_id
    assert seconds(removed) == pytest.approx(22.5, abs=1.5)


@pytest.mark.parametrize("path", ["in sight all the time", "gone for a while"])
@pytest.mark.slow
def test_an_owner_who_takes_it_back_is_the_owner(path: str) -> None:
    away = [(13.0, 310.0, 150.0)] if path == "in sight all the time" else [(13.0, 345.0, 150.0), (19.0, 345.0, 150.0)]
    back = Person([*LEAVER.path[:3], *away, (24, 160, 150), (26, 160, 150), (29.5, 20, 150)])
    seen = events(Scene([back], [replace(LEFT, until=26, by=back, taken=back)], seconds=31))
    assert types(seen) == [*ALARMS, "removed"]
    removed = begun(seen, "removed")
    assert removed.data["by_owner"] is True
    assert removed.severity == "info"
    assert [event.event_type for event in seen if event.phase == "end"] == [*ALARMS, "removed"]


@pytest.mark.slow
def test_two_bags_have_two_owners() -> None:
    other = Person([(0, 340, 130), (6, 220, 130), (9, 220, 130), (14, 340, 130)], **GREEN)
    bags = [LEFT, Bag((234, 130), since=6, by=other, colour=(200, 60, 30))]
    seen = events(Scene([LEAVER, other], bags))
    assert sorted(types(seen)) == sorted(ALARMS * 2)
    alarms = [event for event in seen if event.phase == "new" and event.event_type == "abandoned"]
    assert len({event.person_id for event in alarms}) == len({event.bag_id for event in alarms}) == 2


def test_a_bag_that_topples_is_the_same_bag() -> None:
    seen = events(Scene([LEAVER], [replace(LEFT, until=13), Bag((152, 150), since=13, size=(26, 16))]))
    assert types(seen) == ALARMS
    assert {event.bag_id for event in seen} == {"bag-1"}


def darker(factor: float, since: float, until: float = 1e9) -> Any:
    def light(picture: Picture, at: float) -> Picture:
        return cv2.convertScaleAbs(picture, alpha=factor if since <= at < until else 1.0)

    return light


@pytest.mark.slow
@pytest.mark.parametrize(
    "light",
    [darker(0.55, 12), darker(0.5, 0, 12), darker(0.1, 11, 13), darker(0.25, 0)],
    ids=["lamps go out", "lamps go on", "dark for two seconds", "night"],
)
def test_light_changes_nothing(light: Any) -> None:
    seen = events(Scene([LEAVER], [LEFT], light=light, seconds=22))
    assert types(seen) == ALARMS


def shadow(soft: bool) -> Any:
    sharp = np.ones((180, 320), np.float32)
    sharp[110:150, 100:160] = 0.6
    mask = cv2.GaussianBlur(sharp, (21, 21), 0) if soft else sharp

    def light(picture: Picture, at: float) -> Picture:
        return (picture * mask[..., None]).astype(np.uint8) if at > 9 else picture

    return light


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.slow
def test_a_shadow_is_no_thing(soft: bool) -> None:
    assert told(Scene([LEAVER], light=shadow(soft))) == []


def test_somebody_whom_the_detector_loses_is_no_thing() -> None:
    sitter = Person([*LEAVER.path[:2], (22, 136, 150)], missed=[(8, 40)])
    assert told(Scene([sitter])) == []


@pytest.mark.slow
def test_what_was_there_from_the_start_and_is_taken_away_is_nothing() -> None:
    taker = Person([(6, -20, 150), (10, 140, 150), (11, 140, 150), (17, 340, 150)])
    assert told(Scene([taker], [Bag((150, 150), since=0, until=11, taken=taker)])) == []


def test_furniture_belongs_to_nobody() -> None:
    """The detector takes it for a bag; a passer-by waits beside it and goes."""
    results, seen = watched(Scene([LEAVER], [Bag((150, 150), since=0, score=0.5)]))
    assert seen == []
    assert results[-1].detections[0].attributes["state"] == "found"


@pytest.mark.slow
def test_walkers_leave_nothing() -> None:
    walkers = [
        Person([(2 * i, -20, 140 + 5 * i), (2 * i + 8, 340, 140 + 5 * i)], coat=(40 * i, 90, 200)) for i in range(6)
    ]
    assert told(Scene(walkers)) == []


def test_a_carried_bag_is_owned() -> None:
    walker = Person([(0, -20, 150), (9, 340, 150)])
    results, seen = watched(Scene([walker], [Bag((0, 0), since=99, by=walker, score=0.6)], seconds=8))
    assert seen == []
    assert results[20].measures == {"bags": 1, "owned": 1}
    assert results[20].detections[0].attributes == {"state": "carried", "kind": "suitcase", "owner": "person-2"}


def test_an_event_names_the_owner_and_shows_him_beside_the_bag() -> None:
    alarm = begun(events(Scene([LEAVER], [LEFT], seconds=22)), "abandoned")
    shown = alarm.data["owner_seen"]
    assert (alarm.bag_id, alarm.person_id) == ("bag-1", "person-1")
    assert 4 <= shown["at"] <= alarm.data["left_at"] <= LEAVES + 0.5
    assert shown["seq"] == round(shown["at"] * 5)
    assert len(shown["jpeg"]) <= 8192
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(shown["jpeg"]), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    coat = picture[int(0.3 * picture.shape[0]), picture.shape[1] // 2]
    assert coat.tolist() == pytest.approx(LEAVER.coat, abs=25)


def test_another_scene_begins_anew() -> None:
    """A hard cut: what stands in the new scene was not left there by anybody of the old one."""
    before, after = Scene([LEAVER], seconds=10), Scene([], [Bag((150, 150), since=0)], seed=7, seconds=20)
    frames = [*before.frames(), *(replace(f, at=f.at + 10, seq=f.seq + 50) for f in after.frames())]
    assert told(frames) == []


def test_a_bag_survives_a_camera_that_is_covered_for_a_while() -> None:
    def hand(picture: Picture, at: float) -> Picture:
        return np.full_like(picture, 20) if 13 <= at < 15 else picture

    seen = events(Scene([LEAVER], [SUITCASE], light=hand, seconds=24))
    assert {event.bag_id for event in seen} == {"bag-1"}
    assert seconds(begun(seen, "abandoned")) == pytest.approx(LEAVES + 8, abs=1.5)


@pytest.mark.slow
def test_sessions_know_nothing_of_each_other() -> None:
    scenes = [Scene([LEAVER], [SUITCASE], seconds=22), Scene([], seed=3, seconds=22)]
    tracks, bags = TracksAnalyzer(TracksAnalyzer.Options()), BagsAnalyzer(BagsOptions(unattended_s=3, abandoned_s=8))
    followed = [tracks.open(SessionInfo("x", options=tracks.options)) for _ in scenes]
    memories = [bags.open(SessionInfo("x", options=bags.options)) for _ in scenes]
    together: list[list[Any]] = [[], []]
    for frames in zip(*(scene.frames() for scene in scenes), strict=True):
        for index, frame in enumerate(frames):
            tracked = tracks.analyze(frame, followed[index])
            full = replace(frame, results={**frame.results, "tracks": tracked})
            together[index].append(bags.analyze(full, memories[index]))
    assert together == [watched(scene)[0] for scene in scenes]


def test_options_may_change_while_a_session_runs() -> None:
    frames = list(Scene([LEAVER], [SUITCASE], seconds=22).frames())
    tracks, bags = TracksAnalyzer(TracksAnalyzer.Options()), BagsAnalyzer(BagsOptions())
    followed, memory = (
        tracks.open(SessionInfo("x", options=tracks.options)),
        bags.open(SessionInfo("x", options=bags.options)),
    )
    states = []
    for frame in frames:
        if frame.seq == 80:
            memory = bags.configure(SessionInfo("x", options=BagsOptions(unattended_s=1, abandoned_s=2)), memory)
        full = replace(frame, results={**frame.results, "tracks": tracks.analyze(frame, followed)})
        states.append([one.attributes["state"] for one in bags.analyze(full, memory).detections])
    assert states[79] == ["left"]
    assert states[-1] == ["abandoned"]


@pytest.mark.slow
def test_a_crowd_does_not_fill_the_memory() -> None:
    crowd = [Person([(0.1 * i, -20, 100 + i % 70), (0.1 * i + 3, 340, 100 + i % 70)], height=40) for i in range(150)]
    tracks, bags = TracksAnalyzer(TracksAnalyzer.Options()), BagsAnalyzer(BagsOptions())
    followed, memory = (
        tracks.open(SessionInfo("x", options=tracks.options)),
        bags.open(SessionInfo("x", options=bags.options)),
    )
    for frame in Scene(crowd, seconds=17).frames():
        full = replace(frame, results={**frame.results, "tracks": tracks.analyze(frame, followed)})
        bags.analyze(full, memory)
    assert len(memory.people.trails) <= 64
    assert sum(len(trail.shots) for trail in memory.people.trails.values()) <= 64 * 12


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("unattended_s", 0, "unattended_s must be above 0 and up to 86400 s, got 0"),
        ("abandoned_s", -1, "abandoned_s must be above 0 and up to 86400 s, got -1"),
        ("owner_distance", 0.1, "owner_distance must be 0.2-50 bag heights, got 0.1"),
        ("min_size", 0, "min_size must be above 0 and up to 1, got 0"),
        ("linger_s", -1, "linger_s must be 0-3600 s, got -1"),
    ],
)
def test_an_option_out_of_range_is_refused(name: str, value: float, reason: str) -> None:
    with pytest.raises(UnknownOption, match="analyzer bags: ") as refusal:
        fill_options(BagsAnalyzer, {name: value})
    assert reason.split(", got")[0] in str(refusal.value)


@pytest.mark.slow
def test_other_labels_can_be_bags() -> None:
    def boxed(detection: Detection) -> Detection:
        return replace(detection, label="box") if detection.label == "suitcase" else detection

    frames = [
        replace(f, results={"objects": replace(seen, detections=tuple(boxed(one) for one in seen.detections))})
        for f in Scene([LEAVER], [SUITCASE], seconds=22).frames()
        for seen in [f.results["objects"]]
    ]
    assert told(frames, without_class=False) == []
    assert types(events(frames, without_class=False, bag_labels=("box",))) == ALARMS  # type: ignore[arg-type]
