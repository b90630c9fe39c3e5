"""A smoker is a followed person at whose mouth or hand several looks over more than a second saw a cigarette."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from analyzers._detector import Detector, Selection
from analyzers._weights import find_weights
from analyzers.objects import ObjectsAnalyzer, ObjectsOptions
from analyzers.smoking import KNOWN, Look, SmokingAnalyzer, SmokingOptions, threshold
from analyzers.tracks import TracksAnalyzer, TracksOptions
from gateway import Box, Detection, Result, SessionInfo
from gateway.analyzer import check_analyzer
from gateway.frame import decode
from tests.analyzers import tiny_models
from tests.analyzers.stage import clip, frame_of, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from gateway import Analyzer, Event, Frame

# In a picture of 800x600 px: heads of 64 px, and a cigarette 32 px long.
SMOKER = Box(0.1, 0.1, 0.3, 0.9)
OTHER = Box(0.6, 0.1, 0.8, 0.9)
AT_MOUTH = Detection("cigarette", 0.6, Box(0.2, 0.18, 0.24, 0.2))
AT_OTHER = Detection("cigarette", 0.8, Box(0.7, 0.18, 0.74, 0.2))


class Script:
    """Stands in for the detector: tells what is to be seen in a frame of that time, as far as the view shows it."""

    def __init__(self, analyzer: SmokingAnalyzer, seen: Callable[[float], list[Detection]]) -> None:
        self.seen = seen
        self.asked: list[tuple[float, int, bool]] = []  # time, whom, mirrored
        self.calls = 0
        analyzer._detected = self.detected  # type: ignore[method-assign]

    def detected(self, looks: Sequence[Look], *, mirrored: bool) -> list[list[Detection]]:
        self.calls += 1
        self.asked += [(look.frame.at, look.key, mirrored) for look in looks]
        return [self._in(look, mirrored) for look in looks]

    def _in(self, look: Look, mirrored: bool) -> list[Detection]:
        x1, y1, x2, y2 = look.view.place
        shown = []
        for one in self.seen(look.frame.at):
            left, right = (((v * look.frame.width) - x1) / (x2 - x1) for v in (one.box.x1, one.box.x2))
            top, bottom = (((v * look.frame.height) - y1) / (y2 - y1) for v in (one.box.y1, one.box.y2))
            box = Box.clipped(1 - right, top, 1 - left, bottom) if mirrored else Box.clipped(left, top, right, bottom)
            shown += [replace(one, box=box)] if box.area > 0 else []
        return shown


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., SmokingAnalyzer]:
    model = tiny_models.raw(tmp_path / "m.onnx")

    def make(seen: Callable[[float], list[Detection]], **options: float) -> SmokingAnalyzer:
        analyzer = SmokingAnalyzer(SmokingOptions(model=str(model), **options))  # type: ignore[arg-type]
        analyzer.script = Script(analyzer, seen)  # type: ignore[attr-defined]
        return analyzer

    return make


def frames(fps: float, until: float, *persons: Box, things: Sequence[Detection] = ()) -> list[Frame]:
    known = (Detection("person", 0.9, box, track_id=number) for number, box in enumerate(persons, 1))
    blank = frame_of(tiny_models.picture(800, 600), tracks=Result((*known, *things)))
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


def test_an_event_shows_its_best_evidence(make: Callable[..., SmokingAnalyzer]) -> None:
    best = replace(AT_MOUTH, score=0.9)
    _, events = run(frames(5, 8, SMOKER), make(lambda at: [best if at == 0.4 else AT_MOUTH]))
    data = dict(events[0].data["best"])
    shown = decode(b64decode(data.pop("jpeg"), validate=True))
    assert data == {"seq": 2, "at": 0.4, "score": 0.9, "box": [0.2, 0.18, 0.24, 0.2]}
    assert max(shown.shape) == 192


def test_one_frame_with_a_cigarette_is_not_enough(make: Callable[..., SmokingAnalyzer]) -> None:
    _, events = run(frames(5, 6, SMOKER), make(lambda at: [AT_MOUTH] if 2 <= at < 2.2 else []))
    assert events == []


def test_many_frames_within_a_second_are_not_enough(make: Callable[..., SmokingAnalyzer]) -> None:
    _, events = run(frames(25, 6, SMOKER), make(lambda at: [AT_MOUTH] if 2 <= at < 3 else []))
    assert events == []


def test_every_third_look_is_not_enough(make: Callable[..., SmokingAnalyzer]) -> None:
    _, events = run(frames(5, 9, SMOKER), make(lambda at: [AT_MOUTH] if round(at * 5) % 3 == 0 else []))
    assert events == []


def test_two_of_three_looks_are_enough(make: Callable[..., SmokingAnalyzer]) -> None:
    _, events = run(frames(5, 9, SMOKER), make(lambda at: [AT_MOUTH] if round(at * 5) % 3 else []))
    assert phases(events) == ["new", "end"]


def test_a_lowered_hand_does_not_split_the_event(make: Callable[..., SmokingAnalyzer]) -> None:
    _, events = run(frames(5, 20, SMOKER), make(lambda at: [AT_MOUTH] if at < 4 or 8 < at < 12 else []))
    assert phases(events) == ["new", "end"]


def test_two_smokers_are_two_events(make: Callable[..., SmokingAnalyzer]) -> None:
    _, events = run(frames(5, 4, SMOKER, OTHER), make(lambda at: [AT_MOUTH, AT_OTHER]))
    assert {event.box for event in events if event.phase == "new"} == {SMOKER, OTHER}


def test_a_result_names_cigarettes_smokers_and_numbers(make: Callable[..., SmokingAnalyzer]) -> None:
    seen, _ = run(frames(5, 3, SMOKER, OTHER), make(lambda at: [AT_MOUTH]))
    smoker = Detection("smoker", 0.6, SMOKER, track_id=1, attributes={"evidence": 1.0})
    last = seen[-1]["smoking"]
    assert [(one.label, one.track_id) for one in last.detections] == [("cigarette", None), ("smoker", 1)]
    assert list(last.detections[0].box) == pytest.approx(list(AT_MOUTH.box))
    assert last.detections[1] == replace(smoker, score=last.detections[1].score)
    assert last.measures == {"persons": 2, "smokers": 1}
    assert [one.label for one in seen[0]["smoking"].detections] == ["cigarette", "person"]


def test_what_only_the_picture_or_its_mirror_image_shows_counts_half(make: Callable[..., SmokingAnalyzer]) -> None:
    analyzer = make(lambda at: [replace(AT_MOUTH, score=0.7)])  # 0.35 once, below 0.4
    script: Script = analyzer.script  # type: ignore[attr-defined]
    both = script.detected
    analyzer._detected = lambda looks, *, mirrored: (  # type: ignore[method-assign]
        [[] for _ in looks] if mirrored else both(looks, mirrored=mirrored)
    )
    assert run(frames(5, 6, SMOKER), analyzer)[1] == []
    assert phases(run(frames(5, 6, SMOKER), make(lambda at: [replace(AT_MOUTH, score=0.7)]))[1]) == ["new", "end"]


def test_the_mirror_image_is_looked_at_only_where_there_is_something_to_ask(
    make: Callable[..., SmokingAnalyzer],
) -> None:
    analyzer = make(lambda at: [AT_MOUTH] if at else [replace(AT_MOUTH, score=0.19)])
    run(frames(5, 0.4, SMOKER), analyzer)
    assert analyzer.script.asked == [(0, 1, False), (0.2, 1, False), (0.2, 1, True)]  # type: ignore[attr-defined]


def test_a_person_is_looked_at_five_times_a_second_at_most(make: Callable[..., SmokingAnalyzer]) -> None:
    analyzer = make(lambda at: [])
    run(frames(25, 2, SMOKER), analyzer)
    assert [at for at, _, _ in analyzer.script.asked] == [index / 5 for index in range(10)]  # type: ignore[attr-defined]


def test_persons_take_turns_and_go_to_the_detector_together(make: Callable[..., SmokingAnalyzer]) -> None:
    analyzer = make(lambda at: [], persons=2)
    crowd = [Box(x / 10, 0.1, x / 10 + 0.2, 0.9) for x in range(0, 8, 2)]
    run(frames(5, 0.8, *crowd), analyzer)
    script: Script = analyzer.script  # type: ignore[attr-defined]
    turns = [{key for at, key, _ in script.asked if at == now / 5} for now in range(4)]
    assert [len(keys) for keys in turns] == [2, 2, 2, 2]
    assert turns[0] | turns[1] == {1, 2, 3, 4}
    assert turns[2:] == turns[:2]
    assert script.calls == 8  # one a frame, and one for mirror images, of nobody here


def test_a_smoker_in_a_crowd_is_found_though_his_turns_are_rare(make: Callable[..., SmokingAnalyzer]) -> None:
    crowd = [SMOKER, *(Box(0.4 + x / 20, 0.2, 0.45 + x / 20, 0.9) for x in range(9))]
    _, events = run(frames(5, 12, *crowd), make(lambda at: [AT_MOUTH], persons=1))
    assert [event.box for event in events if event.phase == "new"] == [SMOKER]


def test_a_person_too_small_to_show_a_cigarette_is_not_looked_at(make: Callable[..., SmokingAnalyzer]) -> None:
    analyzer = make(lambda at: [])
    run(frames(5, 1, Box(0.5, 0.5, 0.53, 0.69)), analyzer)  # 114 px, a head of 15
    assert analyzer.script.asked == []  # type: ignore[attr-defined]


def test_a_hand_taken_for_a_person_takes_nobodys_evidence(make: Callable[..., SmokingAnalyzer]) -> None:
    hand = Box(0.19, 0.25, 0.29, 0.4)
    at_hand = replace(AT_MOUTH, box=Box(0.22, 0.26, 0.26, 0.28))
    seen, events = run(frames(5, 4, SMOKER, hand), make(lambda at: [at_hand]))
    assert [event.box for event in events if event.phase == "new"] == [SMOKER]
    assert seen[-1]["smoking"].measures == {"persons": 1, "smokers": 1}


def test_a_thing_that_explains_it_is_no_cigarette(make: Callable[..., SmokingAnalyzer]) -> None:
    phone = Detection("cell phone", 0.7, Box(0.19, 0.16, 0.25, 0.24))
    assert run(frames(5, 4, SMOKER, things=[phone]), make(lambda at: [AT_MOUTH]))[1] == []
    unsure = replace(phone, score=0.5)  # than of the cigarette
    assert run(frames(5, 4, SMOKER, things=[unsure]), make(lambda at: [AT_MOUTH]))[1] != []


def test_a_person_without_an_id_is_judged_in_that_frame_and_kept_for_no_other(
    make: Callable[..., SmokingAnalyzer],
) -> None:
    stranger = frames(5, 4)
    stranger = [replace(one, results={"tracks": Result((Detection("person", 0.9, SMOKER),))}) for one in stranger]
    seen, events = run(stranger, make(lambda at: [AT_MOUTH]))
    assert events == []
    assert [[one.label for one in each["smoking"].detections] for each in seen] == [["cigarette"]] * 20


def test_a_large_cigarette_without_a_person_is_a_close_up(make: Callable[..., SmokingAnalyzer]) -> None:
    large = Detection("cigarette", 0.7, Box(0.3, 0.5, 0.6, 0.6))
    _, events = run(frames(10, 5), make(lambda at: [large]))
    assert [event.box for event in events if event.phase == "new"] == [Box(0, 0, 1, 1)]


def test_a_small_cigarette_without_a_person_is_nothing(make: Callable[..., SmokingAnalyzer]) -> None:
    assert run(frames(10, 5), make(lambda at: [AT_MOUTH]))[1] == []


def test_frames_without_persons_are_searched_twice_a_second(make: Callable[..., SmokingAnalyzer]) -> None:
    analyzer = make(lambda at: [])
    run(frames(10, 2), analyzer)
    assert [at for at, _, _ in analyzer.script.asked] == [0, 0.5, 1, 1.5]  # type: ignore[attr-defined]


def test_who_is_gone_for_long_is_forgotten(make: Callable[..., SmokingAnalyzer]) -> None:
    analyzer = make(lambda at: [AT_MOUTH])
    memory = analyzer.open(SessionInfo("s", options=analyzer.options))
    first, later = frames(5, 0.4, SMOKER)[0], replace(frames(5, 0.4, OTHER)[0], at=11.0)
    analyzer.analyze(first, memory)
    other = replace(later, results={"tracks": Result((Detection("person", 0.9, OTHER, track_id=2),))})
    analyzer.analyze(other, memory)
    assert (set(memory.votes), set(memory.looked_at), set(memory.seen_at)) == ({2}, {2}, {2})


def test_sensitivity_is_each_sessions_own(make: Callable[..., SmokingAnalyzer]) -> None:
    analyzer = make(lambda at: [replace(AT_MOUTH, score=0.3)])
    found = []
    for sensitivity in (0.5, 1.0):
        memory = analyzer.open(SessionInfo("s", options=replace(analyzer.options, sensitivity=sensitivity)))
        found.append(max(len(analyzer.analyze(one, memory).sightings) for one in frames(5, 4, SMOKER)))
    assert found == [0, 1]


def test_votes_go_on_when_options_change(make: Callable[..., SmokingAnalyzer]) -> None:
    analyzer = make(lambda at: [AT_MOUTH])
    memory = analyzer.open(SessionInfo("s", options=analyzer.options))
    film = frames(5, 2, SMOKER)
    for one in film[:5]:
        analyzer.analyze(one, memory)
    options = replace(analyzer.options, sensitivity=1.0)
    memory = analyzer.configure(SessionInfo("s", options=options), memory)
    assert memory.threshold == 0.2
    assert len(memory.votes[1].cast) == 5


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
    assert [(memory.votes, memory.looked_at, memory.seen_at) for memory in memories] == [({}, {}, {})] * 2


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
def test_sensitivity_halves_or_doubles_the_weights_own_score(
    sensitivity: float, weights: str, score: float, tmp_path: Path
) -> None:
    assert threshold(sensitivity, tmp_path / weights) == pytest.approx(score)


@pytest.mark.parametrize(
    ("card", "score"),
    [
        ('{"confidence": 0.31}', 0.31),
        ('{"confidence": 7}', 0.4),
        ('{"confidence": null}', 0.4),
        ("[1]", 0.4),
        ("{", 0.4),
    ],
)
def test_weights_made_here_bring_their_score_in_their_card(card: str, score: float, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(card)
    assert threshold(0.5, tmp_path / "mine.onnx") == score


def test_prompts_choose_the_classes_that_are_evidence(tmp_path: Path) -> None:
    model = str(tiny_models.raw(tmp_path / "m.onnx"))
    analyzer = SmokingAnalyzer(SmokingOptions(model=model, prompts=("blue",)))
    assert analyzer.open(SessionInfo("s", options=analyzer.options)).wanted.classes == (2,)
    with pytest.raises(ValueError, match=r"option prompts: m\.onnx has no class blu; did you mean blue\?"):
        SmokingAnalyzer(SmokingOptions(model=model, prompts=("blu",)))


def test_a_real_graph_is_asked_about_the_part_with_the_person(tmp_path: Path) -> None:
    """The tiny detector finds red cells of 32 px: the view is cut, scaled, mirrored and brought back to the frame."""
    model = str(tiny_models.raw(tmp_path / "m.onnx"))
    analyzer = SmokingAnalyzer(SmokingOptions(model=model, prompts=("red",), side=128))
    person = Box(0.3, 0.1, 0.6, 1.0)  # cut off below, shoulders of 200 px: a head of 100, so nothing is scaled
    drawn = tiny_models.picture(640, 400)
    drawn[:] = 0
    drawn[40:72, 256:288] = (0, 0, 255)
    frame = frame_of(drawn, quality=100, tracks=Result((Detection("person", 0.9, person, track_id=1),)))
    found = analyzer.analyze(frame, analyzer.open(SessionInfo("s", options=analyzer.options))).detections
    assert found[0].label == "cigarette"
    assert found[0].box.center[0] * 640 == pytest.approx(272, abs=16)
    assert found[0].box.center[1] * 400 == pytest.approx(56, abs=16)


# --- real weights ----------------------------------------------------------------------------------------------------


@pytest.fixture
def chain(models: Path) -> tuple[Analyzer, ...]:
    objects = ObjectsAnalyzer(ObjectsOptions(model="yolox_nano.onnx"))
    return objects, TracksAnalyzer(TracksOptions()), SmokingAnalyzer(SmokingOptions())


@pytest.mark.slow
def test_a_man_smoking_in_a_corridor_is_one_event(chain: tuple[Analyzer, ...], media: Path) -> None:
    _, events = run(clip(media / "clips" / "smoking_corridor_a.mp4", fps=5), *chain)
    assert phases(events) == ["new", "end"]
    assert events[0].started_at.second < 4
    assert events[-1].ended_at is not None
    assert (events[-1].ended_at - events[0].started_at).total_seconds() > 15


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fps"),
    [
        ("faces_whitehouse.mp4", 5),  # a microphone at the mouth
        ("bag_attended_suitcase.mp4", 5),  # a phone, seen edge on
        ("people_onebyone_45s.mp4", 2),
        ("people_vtest_30s.mp4", 2),
    ],
)
def test_nobody_smokes(chain: tuple[Analyzer, ...], media: Path, name: str, fps: float) -> None:
    assert run(clip(media / "clips" / name, fps=fps), *chain)[1] == []


@pytest.mark.slow
@pytest.mark.parametrize("weights", sorted(KNOWN))
def test_stills_are_judged_no_worse_than_by_the_weights_alone(models: Path, media: Path, weights: str) -> None:
    """The weights alone: the best score anywhere in the whole picture at 416 px, the size they were trained at."""
    objects = ObjectsAnalyzer(ObjectsOptions(model="yolox_nano.onnx"))
    smoking = SmokingAnalyzer(SmokingOptions(model=weights))
    alone = Detector(find_weights(weights, ()), side=416)
    told = {"smoking": [0, 0], "notsmoking": [0, 0]}  # by the weights alone, by the analyzer
    for path in sorted((media / "smoking").glob("*.jpg")):
        still = frame_of(path.read_bytes())
        seen, _ = run([still], objects, TracksAnalyzer(TracksOptions()), smoking)
        counts = told[path.name.split("_")[0]]
        counts[0] += bool(alone.detect(still, Selection(KNOWN[weights])))
        counts[1] += any(one.label == "cigarette" for one in seen[0]["smoking"].detections)
    right, wrong = told["smoking"], told["notsmoking"]
    assert right[1] >= right[0] >= 16  # of 20
    assert wrong[1] <= wrong[0] <= 2
