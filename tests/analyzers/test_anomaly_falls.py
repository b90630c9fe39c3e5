"""Falls: somebody goes down quickly and stays down; whoever sits, bends, squats or walks out does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from analyzers.anomaly import AnomalyAnalyzer, AnomalyOptions
from analyzers.tracks import TracksAnalyzer, TracksOptions
from tests.analyzers.actors import SLIM, TALL, Act, Pose, move, scene, stand
from tests.analyzers.stage import run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.events import Event
    from gateway.frame import Frame

RATES = [5.0, 25.0]
UP = Pose(0.9, 0.8)
ACROSS = Pose(1.0, 0.82, 0.5, 0.13)  # lying, his length across the picture
FALL_AT, DOWN_AT = 3.0, 3.8


def watch(frames: Iterable[Frame], **options: float) -> list[Event]:
    """New events."""
    tracks, anomaly = TracksAnalyzer(TracksOptions()), AnomalyAnalyzer(AnomalyOptions(**options))  # type: ignore[arg-type]
    return [event for event in run(frames, tracks, anomaly)[1] if event.phase == "new"]


def kinds(act: Act, seconds: float = 8.0, fps: float = 10.0, **options: float) -> list[str]:
    return [event.event_type for event in watch(scene(act, seconds, fps=fps), **options)]


def falling(down: Pose, before: Pose = UP, takes: float = DOWN_AT - FALL_AT) -> Act:
    return move((FALL_AT, before), (FALL_AT + takes, down), accelerated=True)


def losing(act: Act, score: float, after: float = FALL_AT + 0.3) -> Act:
    """The detector sees him with this score only, once he has begun to fall."""

    def played(at: float) -> Pose | None:
        pose = act(at)
        return pose if pose is None or at < after else pose._replace(score=score)

    return played


FALLS: dict[str, Act] = {
    "sideways": falling(ACROSS),
    "slowly, along a wall": falling(ACROSS, takes=1.4),
    "towards the camera": falling(Pose(0.9, 0.97, 0.22, 0.32)),
    "from a chair": falling(Pose(1.0, 0.82, 0.5, 0.13), before=Pose(0.9, 0.8, 0.2, 0.36)),
    "seen weakly while he lies": losing(falling(ACROSS), 0.1),
    "not seen at all while he lies": losing(falling(ACROSS), 0.0),
}


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("act", FALLS.values(), ids=FALLS.keys())
def test_a_fall_is_told_once_within_seconds(act: Act, fps: float) -> None:
    def enters(at: float) -> Pose | None:
        return act(at - 2.0) if at >= 2.0 else None  # the room is seen empty first

    events = watch(scene(enters, 9.5, fps=fps))
    assert [(event.event_type, event.person_id, event.severity) for event in events] == [
        ("fall", "person-1", "critical")
    ]
    fell_at = events[0].data["fell_at"]
    assert 2.0 + FALL_AT - 0.3 <= fell_at <= 2.0 + DOWN_AT + 0.7


SIT = Pose(0.9, 0.8, 0.2, 0.36)
BENT = Pose(0.95, 0.8, 0.28, 0.28)
SQUAT = Pose(0.9, 0.8, 0.2, 0.27)
NO_FALLS: dict[str, Act] = {
    "stands": stand(0.9),
    "walks by": move((0.0, Pose(0.2, 0.8)), (6.0, Pose(1.5, 0.8))),
    "sits down": move((3.0, UP), (4.0, SIT)),
    "drops onto a chair": move((3.0, UP), (3.5, SIT)),
    "bends and comes up again": move((3.0, UP), (3.7, BENT), (4.7, BENT), (5.4, UP)),
    "squats and stays so": move((3.0, UP), (3.8, SQUAT)),
    "lies down on purpose": move((2.5, UP), (3.7, SIT), (5.2, ACROSS)),
    "steps behind a table": move((3.0, UP), (3.6, Pose(0.9, 0.5, SLIM, 0.2))),
    "walks out at the lower edge": move((1.0, UP), (3.2, Pose(0.9, 1.45, 0.2, 0.6))),
    "walks out at the side": move((1.0, UP), (4.0, Pose(2.2, 0.8))),
    "comes up to the camera and stops": move((1.0, Pose(0.9, 0.6, 0.1, 0.3)), (4.0, Pose(0.9, 0.98, 0.3, 0.9))),
}


@pytest.mark.parametrize("fps", [5.0, 12.0])
@pytest.mark.parametrize("act", NO_FALLS.values(), ids=NO_FALLS.keys())
def test_nobody_falls_who_does_not(act: Act, fps: float) -> None:
    assert kinds(act, fps=fps) == []


@pytest.mark.parametrize("fps", [5.0, 12.0])
def test_who_is_lost_behind_something_has_not_fallen(fps: float) -> None:
    walk = move((0.0, Pose(0.4, 0.8)), (6.0, Pose(1.4, 0.8)))

    def hidden(at: float) -> Pose | None:
        return walk(at)._replace(seen=False) if at > 3.0 else walk(at)  # type: ignore[union-attr]

    assert kinds(hidden, fps=fps) == []


def test_who_gets_up_again_at_once_has_not_fallen() -> None:
    act = move((3.0, UP), (3.6, ACROSS), (4.2, ACROSS), (4.9, UP))
    assert kinds(act) == []


def test_a_fall_ends_when_he_gets_up() -> None:
    act = move((3.0, UP), (3.7, ACROSS), (7.0, ACROSS), (8.0, UP))
    tracks, anomaly = TracksAnalyzer(TracksOptions()), AnomalyAnalyzer(AnomalyOptions())
    results, events = run(scene(act, 12.0), tracks, anomaly)
    assert [event.phase for event in events if event.phase != "update"] == ["new", "end"]
    fallen = [index / 10 for index, seen in enumerate(results) if seen["anomaly"].measures["fallen"]]
    assert 4.7 <= fallen[0] <= 5.3
    assert 7.2 <= fallen[-1] <= 8.5


def test_lying_s_is_for_how_long_he_must_lie() -> None:
    act = falling(ACROSS)
    assert kinds(act, lying_s=6.0) == []
    assert kinds(act, seconds=11.0, lying_s=6.0) == ["fall"]


def test_a_cut_to_another_scene_is_no_fall() -> None:
    before = list(scene(stand(0.9), 4.0))
    after = list(scene(lambda at: ACROSS, 5.0, seed=2, start=4.0))
    assert [event.event_type for event in watch([*before, *after])] == []


def test_a_coat_on_a_chair_that_looks_a_little_like_somebody_is_nobody_who_fell() -> None:
    """A weak detection that was there before does not become the person who has just left."""
    from dataclasses import replace

    from gateway.results import Box, Detection, Result

    coat = Detection("person", 0.1, Box(0.5, 0.7, 0.7, 0.85))

    def with_coat(frame: Frame) -> Frame:
        seen = frame.results["objects"]
        return replace(frame, results={"objects": Result(seen.detections, faint=(*seen.faint, coat))})

    def leaves(at: float) -> Pose | None:
        return Pose(0.6 + 0.1 * at, 0.8) if at < 4.0 else None

    assert watch(map(with_coat, scene(leaves, 8.0))) == []


def test_switched_off_it_tells_nothing() -> None:
    assert kinds(falling(ACROSS), fall=False) == []


def test_heights_of_the_picture_do_not_matter() -> None:
    def far(at: float) -> Pose | None:
        pose = falling(ACROSS)(at)
        return pose and Pose(0.5 + pose.x / 3, 0.3 + pose.foot / 3, pose.width / 3, pose.height / 3, pose.score)

    assert TALL / 3 < 0.2
    assert kinds(far) == ["fall"]
