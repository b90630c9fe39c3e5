"""A smoker is a person at whom several frames over more than a second saw a cigarette."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from analyzers._detector import Selection
from analyzers.objects import ObjectsAnalyzer, ObjectsOptions
from analyzers.smoking import SmokingAnalyzer, SmokingOptions, evidence, threshold
from gateway import Box, Detection, Result, SessionInfo
from gateway.analyzer import check_analyzer
from tests.analyzers import tiny_models
from tests.analyzers.stage import clip, frame_of, look, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from gateway import Event, Frame

SMOKER = Box(0.1, 0.1, 0.4, 0.9)
OTHER = Box(0.6, 0.1, 0.9, 0.9)
AT_MOUTH = Detection("cigarette", 0.6, Box(0.22, 0.2, 0.26, 0.22))


class Script:
    """Stands in for the cigarette detector: tells what it saw by the frame's time."""

    def __init__(self, seen: Callable[[float], list[Detection]]) -> None:
        self.seen = seen
        self.asked: list[float] = []

    def classes(self, labels: Sequence[str]) -> tuple[int, ...]:
        return ()

    def detect(self, frame: Frame, wanted: Selection) -> list[Detection]:
        self.asked.append(frame.at)
        return self.seen(frame.at)

    def detect_batch(self, frames: Sequence[Frame], wanted: Sequence[Selection]) -> list[list[Detection]]:
        return [self.detect(*each) for each in zip(frames, wanted, strict=True)]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., SmokingAnalyzer]:
    model = tiny_models.raw(tmp_path / "m.onnx")

    def make(seen: Callable[[float], list[Detection]], **options: float) -> SmokingAnalyzer:
        analyzer = SmokingAnalyzer(SmokingOptions(model=str(model), **options))  # type: ignore[arg-type]
        analyzer._detector = Script(seen)  # type: ignore[assignment]
        return analyzer

    return make


def frames(fps: float, until: float, *persons: Box) -> list[Frame]:
    objects = Result(tuple(Detection("person", 0.9, box) for box in persons))
    blank = frame_of(tiny_models.picture(), objects=objects)
    return [replace(blank, at=index / fps, seq=index) for index in range(round(until * fps))]


def phases(events: Iterable[Event]) -> list[str]:
    return [event.phase for event in events if event.phase != "update"]


def test_the_class_keeps_the_contract() -> None:
    check_analyzer(SmokingAnalyzer)


@pytest.mark.parametrize("fps", [2, 5, 10, 25])
def test_a_smoker_is_one_event_at_any_frame_rate(make: Callable[..., SmokingAnalyzer], fps: float) -> None:
    _, events = run(frames(fps, 8, SMOKER, OTHER), make(lambda at: [AT_MOUTH]))
    begin, end = events[0], events[-1]
    assert phases(events) == ["new", "end"]
    assert (begin.event_type, begin.severity, begin.label, begin.box) == ("smoking", "warning", "smoker", SMOKER)
    assert begin.score == pytest.approx(0.6)
    assert 1.2 <= begin.started_at.second + begin.started_at.microsecond / 1e6 <= 1.6
    assert end.ended_at is not None


def test_one_frame_with_a_cigarette_is_not_enough(make: Callable[..., SmokingAnalyzer]) -> None:
    _, events = run(frames(5, 6, SMOKER), make(lambda at: [AT_MOUTH] if 2 <= at < 2.2 else []))
    assert events == []


def test_many_frames_within_a_second_are_not_enough(make: Callable[..., SmokingAnalyzer]) -> None:
    _, events = run(frames(25, 6, SMOKER), make(lambda at: [AT_MOUTH] if 2 <= at < 3 else []))
    assert events == []


def test_every_third_frame_is_not_enough(make: Callable[..., SmokingAnalyzer]) -> None:
    _, events = run(frames(10, 9, SMOKER), make(lambda at: [AT_MOUTH] if round(at * 10) % 3 == 0 else []))
    assert events == []


def test_two_of_three_frames_are_enough(make: Callable[..., SmokingAnalyzer]) -> None:
    _, events = run(frames(5, 9, SMOKER), make(lambda at: [AT_MOUTH] if round(at * 5) % 3 else []))
    assert phases(events) == ["new", "end"]


def test_a_lowered_hand_does_not_split_the_event(make: Callable[..., SmokingAnalyzer]) -> None:
    _, events = run(frames(5, 20, SMOKER), make(lambda at: [AT_MOUTH] if at < 4 or 8 < at < 12 else []))
    assert phases(events) == ["new", "end"]


def test_two_smokers_are_two_events(make: Callable[..., SmokingAnalyzer]) -> None:
    second = Detection("cigarette", 0.8, Box(0.72, 0.2, 0.76, 0.22))
    _, events = run(frames(5, 4, SMOKER, OTHER), make(lambda at: [AT_MOUTH, second]))
    assert {event.box for event in events if event.phase == "new"} == {SMOKER, OTHER}


def test_a_result_names_cigarettes_smokers_and_numbers(make: Callable[..., SmokingAnalyzer]) -> None:
    seen, _ = run(frames(5, 3, SMOKER, OTHER), make(lambda at: [AT_MOUTH]))
    smoker = Detection("smoker", 0.6, SMOKER, track_id=1, attributes={"evidence": 1.0})
    last = seen[-1]["smoking"]
    assert (last.detections, last.measures) == ((AT_MOUTH, smoker), {"persons": 2, "smokers": 1})
    assert seen[0]["smoking"].detections == (AT_MOUTH, replace(smoker, label="person"))


def test_a_large_cigarette_without_a_person_is_a_close_up(make: Callable[..., SmokingAnalyzer]) -> None:
    large = Detection("cigarette", 0.7, Box(0.3, 0.5, 0.6, 0.6))
    _, events = run(frames(10, 5), make(lambda at: [large]))
    assert [event.box for event in events if event.phase == "new"] == [Box(0, 0, 1, 1)]


def test_a_small_cigarette_without_a_person_is_nothing(make: Callable[..., SmokingAnalyzer]) -> None:
    assert run(frames(10, 5), make(lambda at: [AT_MOUTH]))[1] == []


def test_frames_without_persons_are_searched_twice_a_second(make: Callable[..., SmokingAnalyzer]) -> None:
    analyzer = make(lambda at: [])
    run(frames(10, 2), analyzer)
    assert analyzer._detector.asked == [0, 0.5, 1, 1.5]  # type: ignore[attr-defined]


def test_batches_of_sessions_say_what_each_session_alone_says(make: Callable[..., SmokingAnalyzer]) -> None:
    analyzer = make(lambda at: [AT_MOUTH] if at > 1 else [])
    sessions = [frames(5, 4, SMOKER, OTHER), frames(5, 4), frames(5, 4, OTHER)]
    alone = [[result["smoking"] for result in run(each, analyzer)[0]] for each in sessions]
    memories = [analyzer.open(SessionInfo("s", options=analyzer.options)) for _ in sessions]
    together = [analyzer.analyze_batch(batch, memories) for batch in zip(*sessions, strict=True)]
    assert [list(results) for results in zip(*together, strict=True)] == alone
    assert alone[0][-1].measures == {"persons": 2, "smokers": 1}


def test_a_batch_that_fails_has_changed_no_memory(make: Callable[..., SmokingAnalyzer]) -> None:
    def fails(at: float) -> list[Detection]:
        raise RuntimeError("out of memory")

    analyzer, first = make(fails), frames(5, 1, SMOKER)[0]
    memories = [analyzer.open(SessionInfo("s", options=analyzer.options)) for _ in range(2)]
    with pytest.raises(RuntimeError, match="out of memory"):
        analyzer.analyze_batch([first, frames(5, 1)[0]], memories)
    assert [(memory.votes, memory.searched_at) for memory in memories] == [({}, float("-inf"))] * 2


@pytest.mark.parametrize(
    ("where", "scores"),
    [
        (Box(0.22, 0.2, 0.26, 0.22), [0.6, 0]),  # at the mouth
        (Box(0.06, 0.45, 0.1, 0.47), [0.6, 0]),  # in the hand, beside the hip
        (Box(0.22, 0.7, 0.26, 0.72), [0, 0]),  # on the ground before him
        (Box(0.48, 0.2, 0.5, 0.22), [0, 0]),  # between them
        (Box(0.72, 0.02, 0.76, 0.04), [0, 0]),  # above his head
    ],
)
def test_a_cigarette_belongs_to_whose_upper_body_it_is_at(where: Box, scores: list[float]) -> None:
    assert evidence([SMOKER, OTHER], [replace(AT_MOUTH, box=where)]) == scores


def test_between_two_the_nearer_head_decides() -> None:
    behind = Box(0.2, 0.05, 0.5, 0.85)
    assert evidence([behind, SMOKER], [AT_MOUTH]) == [0, 0.6]


def test_of_somebody_cut_off_below_the_whole_box_is_upper_body() -> None:
    low = replace(AT_MOUTH, box=Box(0.3, 0.85, 0.35, 0.88))
    assert evidence([Box(0.1, 0.1, 0.9, 0.97)], [low]) == [0.6]
    assert evidence([Box(0.1, 0.1, 0.9, 0.9)], [low]) == [0]


@pytest.mark.parametrize(
    ("sensitivity", "weights", "score"),
    [
        (0.5, "cigarette_yolov8n_e16.onnx", 0.4),
        (0.5, "cigarette_yolov8n.onnx", 0.25),
        (0.5, "mine.onnx", 0.4),
        (0.0, "mine.onnx", 0.8),
        (1.0, "mine.onnx", 0.2),
    ],
)
def test_sensitivity_halves_or_doubles_the_weights_own_score(sensitivity: float, weights: str, score: float) -> None:
    assert threshold(sensitivity, weights) == pytest.approx(score)


@pytest.fixture
def chain(models: Path) -> tuple[ObjectsAnalyzer, SmokingAnalyzer]:
    return ObjectsAnalyzer(ObjectsOptions(labels=("person",))), SmokingAnalyzer(SmokingOptions())


def test_a_man_smoking_in_a_corridor_is_one_event(chain: tuple[ObjectsAnalyzer, SmokingAnalyzer], media: Path) -> None:
    _, events = run(clip(media / "clips" / "smoking_corridor_a.mp4", fps=5), *chain)
    assert phases(events) == ["new", "end"]
    assert events[0].started_at.second < 4
    assert events[-1].ended_at is not None
    assert (events[-1].ended_at - events[0].started_at).total_seconds() > 15


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fps"), [("faces_whitehouse.mp4", 5), ("people_onebyone_45s.mp4", 2), ("people_vtest_30s.mp4", 2)]
)
def test_nobody_smokes(chain: tuple[ObjectsAnalyzer, SmokingAnalyzer], media: Path, name: str, fps: float) -> None:
    assert run(clip(media / "clips" / name, fps=fps), *chain)[1] == []


@pytest.mark.slow
def test_most_smokers_and_few_others_in_stills(chain: tuple[ObjectsAnalyzer, SmokingAnalyzer], media: Path) -> None:
    """Stills held for two seconds; the labels are the file names."""
    objects, smoking = chain
    alarms = {"smoking": 0, "notsmoking": 0}
    for path in sorted((media / "smoking").glob("*.jpg")):
        still = frame_of(path.read_bytes())
        still = replace(still, results={"objects": look(objects, still)})
        held = (replace(still, at=index / 2, seq=index) for index in range(4))
        alarms[path.name.split("_")[0]] += bool(run(held, smoking)[1])
    assert alarms["smoking"] >= 15  # of 20
    assert alarms["notsmoking"] <= 2  # of 20
