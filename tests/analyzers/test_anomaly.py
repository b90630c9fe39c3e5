"""Anomalies but for falls: who runs, crowds, stays or comes after hours, and who tampers with the camera."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from analyzers._bodies import Body, Sight
from analyzers._crowd import Surge
from analyzers._hours import Hours
from analyzers._speed import Speeds
from analyzers._stays import Stays
from analyzers._tamper import Tamper
from analyzers.anomaly import AnomalyAnalyzer, AnomalyOptions
from analyzers.tracks import TracksAnalyzer, TracksOptions
from gateway.analyzer import SessionInfo, fill_options
from gateway.errors import UnknownOption
from gateway.results import Box, Detection, Result
from tests.analyzers.actors import ASPECT, Pose, coloured, move, room, scene, stand
from tests.analyzers.stage import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Picture = np.ndarray[Any, Any]

RATES = [5.0, 25.0]


# --- running ---------------------------------------------------------------------------------------------------------


def fastest(speed: float, *, fps: float, tall: float = 0.4, foot: float = 0.8, window_s: float = 1.0) -> float:
    """What is measured of somebody who goes straight across, at `speed` own heights a second, with boxes that shake."""
    speeds, shake = Speeds(window_s), np.random.default_rng(3)
    found = [0.0]
    for index in range(round(3 * fps)):
        at = index / fps
        jump = shake.normal(0, 0.02 * tall, 3)
        x = 0.2 + speed * tall * at
        if x > ASPECT - 0.2:
            break
        body = Body(at, x + jump[0], foot - tall + jump[1], foot + jump[2], 0.35 * tall, 0.8)
        found.append(speeds.step({1: body}, at, ASPECT)[1])
    return max(found)


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("tall", [0.1, 0.3])
def test_a_speed_is_in_own_heights_near_and_far_at_any_rate(tall: float, fps: float) -> None:
    assert fastest(2.5, fps=fps, tall=tall) == pytest.approx(2.5, abs=0.35)
    assert fastest(1.2, fps=fps, tall=tall) < 1.6


def test_a_box_that_jumps_to_and_fro_goes_nowhere() -> None:
    speeds = Speeds(1.0)
    bodies = [Body(i / 10, 0.8 + 0.3 * (i % 2), 0.4, 0.8, 0.14, 0.8) for i in range(30)]
    assert max(speeds.step({1: body}, body.at, ASPECT)[1] for body in bodies) < 0.3


def test_one_leap_of_a_track_is_no_run() -> None:
    speeds = Speeds(1.0)
    bodies = [Body(i / 10, 0.4 if i < 15 else 1.2, 0.4, 0.8, 0.14, 0.8) for i in range(30)]
    assert max(speeds.step({1: body}, body.at, ASPECT)[1] for body in bodies) == 0.0


def test_who_is_cut_off_by_the_edge_has_no_height_to_measure_by() -> None:
    assert fastest(3.0, fps=10.0, foot=1.0) == 0.0


def runs(act: Callable[[float], Pose | None], **options: object) -> list[str]:
    tracks, anomaly = TracksAnalyzer(TracksOptions()), AnomalyAnalyzer(AnomalyOptions(**options))  # type: ignore[arg-type]
    return [e.event_type for e in run(scene(act, 4.0), tracks, anomaly)[1] if e.phase == "new"]


def test_a_run_is_told_and_a_walk_is_not() -> None:
    run_by = move((0.0, Pose(0.1, 0.6, 0.07, 0.2)), (3.4, Pose(1.7, 0.6, 0.07, 0.2)))  # 2.4 heights a second
    walk_by = move((0.0, Pose(0.1, 0.6, 0.07, 0.2)), (4.0, Pose(0.9, 0.6, 0.07, 0.2)))  # 1.0
    assert runs(run_by) == ["running"]
    assert runs(run_by, running=False) == []
    assert runs(walk_by) == []
    assert runs(walk_by, running_speed=0.8) == ["running"]


def test_a_rider_does_not_run() -> None:
    person, bike = Box(0.4, 0.4, 0.5, 0.8), Box(0.37, 0.6, 0.53, 0.85)
    people = [Detection("person", 0.8, person, 1), Detection("person", 0.8, Box(0.1, 0.4, 0.2, 0.8), 2)]
    sight = Sight.of(Result((*people, Detection("bicycle", 0.6, bike, 3))), 0.0, ASPECT)
    assert sight.riders == {1}


# --- crowds ----------------------------------------------------------------------------------------------------------


def surges(count: Callable[[float], int], seconds: float, *, fps: float = 5.0, least: int = 6) -> list[float]:
    """When a surge was there."""
    surge = Surge(least)
    return [i / fps for i in range(round(seconds * fps)) if surge.step(i / fps, count(i / fps)) is not None]


@pytest.mark.parametrize("fps", RATES)
def test_many_more_people_within_seconds_are_a_surge_until_they_are_usual(fps: float) -> None:
    told = surges(lambda at: 2 if at < 40 else 8, 130.0, fps=fps)
    assert 42.0 <= told[0] <= 44.0
    assert 60.0 <= told[-1] <= 120.0


@pytest.mark.parametrize(
    "count",
    [
        lambda at: 8,  # always many
        lambda at: 1 if at < 40 else 4,  # more, but no crowd
        lambda at: 2 + int(at / 20),  # slowly more
        lambda at: 9 if int(at * 5) % 50 == 0 else 2,  # the detector counts wrong now and then
        lambda at: 0 if at < 5 else 8,  # a stream that has just begun
    ],
)
def test_what_is_usual_or_slow_or_a_blink_is_no_surge(count: Callable[[float], int]) -> None:
    assert surges(count, 100.0) == []


# --- stays, hours ----------------------------------------------------------------------------------------------------


def stays(x: Callable[[float], float], seconds: float, stay_s: float) -> list[float]:
    rule = Stays(stay_s, heights=2.0)
    times = [i / 5 for i in range(round(seconds * 5))]
    return [at for at in times if rule.step({1: Body(at, x(at), 0.5, 0.7, 0.07, 0.8)}, (), at)]


def test_who_stays_about_one_place_loiters_after_stay_s() -> None:
    told = stays(lambda at: 0.8 + 0.1 * np.sin(at), 40.0, 30.0)
    assert told[0] == pytest.approx(30.0, abs=0.3)


def test_who_walks_on_does_not_loiter_and_zero_means_never() -> None:
    assert stays(lambda at: 0.1 + 0.04 * at, 40.0, 30.0) == []
    assert stays(lambda at: 0.8, 40.0, 0.0) == []


@pytest.mark.parametrize(
    ("text", "hour", "minute", "inside"),
    [
        ("22:00-06:00", 23, 0, True),
        ("22:00-06:00", 5, 59, True),
        ("22:00-06:00", 6, 0, False),
        ("12:00-13:00, 20:00-24:00", 12, 30, True),
        ("12:00-13:00, 20:00-24:00", 23, 59, True),
        ("", 3, 0, False),
    ],
)
def test_hours_of_the_day(text: str, hour: int, minute: int, *, inside: bool) -> None:
    moment = datetime(2026, 6, 1, hour, minute).astimezone()  # where the server is
    assert Hours.read(text).hold(moment.astimezone(UTC)) is inside


@pytest.mark.parametrize("text", ["22-6", "25:00-26:00", "24:30-03:00", "night"])
def test_bad_hours_are_refused(text: str) -> None:
    with pytest.raises(UnknownOption, match="closed must be spans such as 22:00-06:00"):
        fill_options(AnomalyAnalyzer, {"closed": text})


def test_somebody_in_closed_hours_is_an_intrusion() -> None:
    tracks = TracksAnalyzer(TracksOptions())
    always, never = (AnomalyAnalyzer(AnomalyOptions(closed=hours)) for hours in ("00:00-24:00", ""))
    events = run(scene(stand(0.9), 3.0), tracks, always)[1]
    assert [(e.event_type, e.person_id) for e in events if e.phase == "new"] == [("intrusion", "person-1")]
    assert run(scene(stand(0.9), 3.0), tracks, never)[1] == []


# --- the camera ------------------------------------------------------------------------------------------------------


def lit(gain: float, offset: float = 0.0) -> Callable[[Picture], Picture]:
    return lambda picture: np.clip(picture * gain + offset, 0, 255).astype(np.uint8)


def blurred(picture: Picture) -> Picture:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 4))


def covered(picture: Picture) -> Picture:
    changed: Picture = np.clip(cv2.GaussianBlur(picture, (0, 0), 40) * 0.2 + 60, 0, 255).astype(np.uint8)
    return changed


def turned(picture: Picture) -> Picture:
    return np.asarray(np.roll(picture, 90, axis=1))


def nudged(picture: Picture) -> Picture:
    return np.asarray(np.roll(picture, 6, axis=1))


def another_room(picture: Picture) -> Picture:
    return room(7)


def somebody_near(picture: Picture) -> Picture:
    near = picture.copy()
    near[:, 60:220] = 40
    return near


def pictures(
    change: Callable[[Picture], Picture], begin: float, end: float, until: float
) -> Iterator[tuple[float, Picture]]:
    """A room, changed from `begin` to `end`, with a sensor's noise, 5 a second."""
    background, random = room(), np.random.default_rng(2)
    for index in range(round(until * 5)):
        at = index / 5
        picture = change(background) if begin <= at < end else background
        noisy = np.clip(picture + random.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)
        yield at, coloured(noisy)


def tampered(
    change: Callable[[Picture], Picture], *, begin: float = 15.0, end: float = 22.0
) -> list[tuple[str, float]]:
    """Kinds told, and when first."""
    tamper, told = Tamper(hold_s=3.0), dict[str, float]()
    for at, picture in pictures(change, begin, end, 30.0):
        if (wrong := tamper.step(picture, at)) is not None:
            told.setdefault(wrong.kind, at)
    return list(told.items())


@pytest.mark.parametrize(
    ("change", "kind"),
    [(covered, "covered"), (turned, "moved"), (another_room, "moved"), (blurred, "blurred"), (lit(0.02), "dark")],
)
def test_tampering_is_told_by_its_kind_after_hold_s(change: Callable[[Picture], Picture], kind: str) -> None:
    told = tampered(change)
    assert [one for one, _ in told] == [kind]
    assert told[0][1] == pytest.approx(18.0, abs=0.3)


@pytest.mark.parametrize("change", [lit(0.5), lit(0.25), lit(1.0, 60), somebody_near, nudged])
def test_light_and_people_and_a_nudge_are_no_tampering(change: Callable[[Picture], Picture]) -> None:
    assert tampered(change) == []


def test_what_passes_before_hold_s_is_no_tampering() -> None:
    assert tampered(covered, end=17.5) == []


def test_a_view_must_have_been_steady_before_anything_is_said() -> None:
    assert tampered(another_room, begin=6.0, end=14.0) == []


def test_a_new_view_is_taken_for_granted_and_watched_in_its_turn() -> None:
    tamper, rooms = Tamper(hold_s=3.0), [room(1), room(2), room(3)]
    told = []
    for index in range(75 * 5):
        at = index / 5
        picture = coloured(rooms[int(at // 25)])
        if tamper.step(picture, at) is not None:
            told.append(at)
    first, second = [at for at in told if at < 50], [at for at in told if at >= 50]
    assert [first[0], first[-1], second[0], second[-1]] == pytest.approx([28.0, 35.0, 53.0, 60.0], abs=0.5)


def test_the_same_picture_over_and_over_is_frozen_if_asked_for() -> None:
    still = coloured(room())
    for frozen_s, kinds in ((0.0, set()), (10.0, {"frozen"})):
        tamper = Tamper(3.0, frozen_s)
        told = {wrong.kind for i in range(100) if (wrong := tamper.step(still, i / 5)) is not None}
        assert told == kinds


def test_a_turned_camera_is_told_with_how_far() -> None:
    tamper = Tamper(3.0)
    shifts = {wrong.shift for at, picture in pictures(turned, 15, 22, 20.0) if (wrong := tamper.step(picture, at))}
    assert {None if one is None else (round(one[0], 1), round(one[1], 1)) for one in shifts} == {(0.3, 0.0)}


# --- as a whole ------------------------------------------------------------------------------------------------------


def test_two_sessions_give_what_they_give_alone() -> None:
    down = move((2.0, Pose(0.9, 0.8)), (2.7, Pose(1.0, 0.82, 0.5, 0.13)), accelerated=True)
    ways = [scene(down, 6.0), scene(stand(0.5), 6.0, seed=4)]
    alone = [run(way, TracksAnalyzer(TracksOptions()), AnomalyAnalyzer(AnomalyOptions()))[0] for way in ways]
    tracks, anomaly = TracksAnalyzer(TracksOptions()), AnomalyAnalyzer(AnomalyOptions())
    memories = [
        (tracks.open(SessionInfo(s, options=tracks.options)), anomaly.open(SessionInfo(s, options=anomaly.options)))
        for s in "ab"
    ]
    ways = [scene(down, 6.0), scene(stand(0.5), 6.0, seed=4)]
    for index, frames in enumerate(zip(*ways, strict=True)):
        for way, (frame, (followed, known)) in enumerate(zip(frames, memories, strict=True)):
            from dataclasses import replace

            seen = {**frame.results, "tracks": tracks.analyze(frame, followed)}
            assert anomaly.analyze(replace(frame, results=seen), known) == alone[way][index]["anomaly"]


def test_measures_count_persons() -> None:
    results, _ = run(scene(stand(0.9), 2.0), TracksAnalyzer(TracksOptions()), AnomalyAnalyzer(AnomalyOptions()))
    assert results[-1]["anomaly"].measures == {"persons": 1, "moving": 0, "fallen": 0, "running": 0, "tampered": 0}


def test_new_options_hold_from_now_on_and_nothing_known_is_lost() -> None:
    anomaly = AnomalyAnalyzer(AnomalyOptions())
    memory = anomaly.open(SessionInfo("a", options=anomaly.options))
    other = anomaly.configure(SessionInfo("a", options=AnomalyOptions(lying_s=5.0, tamper_s=9.0)), memory)
    assert (other.falls, other.falls.lying_s, other.tamper.hold_s) == (memory.falls, 5.0, 9.0)
    assert other.scenery is memory.scenery


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lying_s": 0}, "lying_s must be above 0 and up to 3600, got 0"),
        ({"crowd_least": 1}, "crowd_least must be 2-1000, got 1"),
        ({"tamper_s": -1}, "tamper_s must be 0-86400 s, got -1"),
        ({"runing": True}, "did you mean running?"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UnknownOption, match=message.replace("?", r"\?")):
        fill_options(AnomalyAnalyzer, options)
