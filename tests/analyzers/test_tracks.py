"""Tracks gives what `objects` sees ids that last, tells who is hidden, and keeps the faint to itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from analyzers.tracks import TracksAnalyzer, TracksOptions
from gateway import Box, Detection, Frame, Result, SessionInfo, Tracker
from gateway.analyzer import check_analyzer

PERSON = Detection("person", 0.8, Box(0.3, 0.2, 0.4, 0.7))
BAG = Detection("suitcase", 0.6, Box(0.6, 0.6, 0.7, 0.75))


def frame(at: float, *seen: Detection, faint: Sequence[Detection] = (), width: int = 1280) -> Frame:
    return Frame(round(at * 10), at, width, 720, b"", at=at, results={"objects": Result(seen, faint=tuple(faint))})


def opened(options: TracksOptions | None = None) -> tuple[TracksAnalyzer, Tracker]:
    analyzer = TracksAnalyzer(options or TracksOptions())
    return analyzer, analyzer.open(SessionInfo("test", options=analyzer.options))


def told(result: Result) -> list[tuple[str, int | None]]:
    return [(one.label, one.track_id) for one in result.detections]


def test_the_class_keeps_the_contract() -> None:
    check_analyzer(TracksAnalyzer)


def test_what_objects_sees_is_told_with_ids_once_it_was_seen_twice() -> None:
    analyzer, memory = opened()
    results = [analyzer.analyze(frame(at, PERSON, BAG), memory) for at in (0.0, 0.2, 0.4)]
    assert [told(result) for result in results] == [
        [("person", None), ("suitcase", None)],
        [("person", 1), ("suitcase", 2)],
        [("person", 1), ("suitcase", 2)],
    ]
    assert [dict(result.measures) for result in results] == [{"persons": 0, "tracks": 0}] + [
        {"persons": 1, "tracks": 2}
    ] * 2
    last = results[-1].detections[0]
    assert last == replace(PERSON, track_id=1, attributes={"age_s": 0.4, "speed": 0.0})


def test_speed_is_in_own_heights_a_second() -> None:
    """0.1 widths of a 16:9 picture a second, by somebody half as high as the picture."""
    analyzer, memory = opened()
    for number in range(20):
        x = 0.2 + 0.01 * number
        result = analyzer.analyze(frame(number / 10, Detection("person", 0.8, Box(x, 0.2, x + 0.1, 0.7))), memory)
    assert result.detections[0].attributes["speed"] == pytest.approx(0.1 * 1280 / 720 / 0.5, abs=0.02)


def test_the_hidden_are_faint_with_their_id_and_soon_no_longer_counted() -> None:
    analyzer, memory = opened()
    for at in (0.0, 0.2, 0.4):
        analyzer.analyze(frame(at, PERSON), memory)
    hidden = analyzer.analyze(frame(1.2), memory)
    assert (hidden.detections, hidden.measures) == ((), {"persons": 1, "tracks": 1})
    (one,) = hidden.faint
    assert (one.label, one.track_id, one.attributes) == ("person", 1, {"age_s": 1.2, "unseen_s": 0.8})
    assert analyzer.analyze(frame(1.6), memory).measures == {"persons": 0, "tracks": 0}
    assert told(analyzer.analyze(frame(2.0, PERSON), memory)) == [("person", 1)]


def test_the_weak_are_told_if_they_continue_a_track_and_else_stay_faint() -> None:
    analyzer, memory = opened()
    for at in (0.0, 0.2, 0.4):
        analyzer.analyze(frame(at, PERSON), memory)
    weak, elsewhere = replace(PERSON, score=0.1), replace(BAG, score=0.1)
    result = analyzer.analyze(frame(0.6, faint=[elsewhere, weak]), memory)
    assert [(one.label, one.score, one.track_id) for one in result.detections] == [("person", 0.1, 1)]
    assert result.faint == (elsewhere,)


def test_an_arm_is_nobody_but_a_child_who_came_beside_an_adult_is_followed_before_him() -> None:
    analyzer, memory = opened()
    adult = Detection("person", 0.9, Box(0.3, 0.1, 0.6, 0.9))
    arm = Detection("person", 0.4, Box(0.32, 0.4, 0.4, 0.9))
    for at in (0.0, 0.2, 0.4):
        result = analyzer.analyze(frame(at, adult, arm), memory)
    assert (told(result), result.measures) == ([("person", 1), ("person", None)], {"persons": 1, "tracks": 1})
    for number in range(10):  # a child comes from the right
        x = 0.65 - 0.03 * number
        child = Detection("person", 0.8, Box(x, 0.45, x + 0.1, 0.9))
        result = analyzer.analyze(frame(0.6 + number / 10, adult, child), memory)
    assert (told(result), result.measures) == ([("person", 1), ("person", 2)], {"persons": 2, "tracks": 2})


def test_what_is_doubtful_and_never_moves_is_not_counted_as_a_person() -> None:
    analyzer, memory = opened()
    sign = replace(PERSON, score=0.4)
    for number in range(20):
        x = 0.6 + 0.01 * number
        walker = Detection("person", 0.4, Box(x, 0.2, x + 0.1, 0.7))
        result = analyzer.analyze(frame(number / 10, sign, walker), memory)
    assert (told(result), result.measures) == ([("person", 1), ("person", 2)], {"persons": 1, "tracks": 2})


def test_a_bag_is_one_bag_whatever_it_is_called() -> None:
    analyzer, memory = opened()
    labels = ["suitcase", "suitcase", "handbag", "backpack", "suitcase"]
    results = [analyzer.analyze(frame(n / 5, replace(BAG, label=label)), memory) for n, label in enumerate(labels)]
    assert [told(result) for result in results[1:]] == [[("suitcase", 1)]] * 4


def test_what_objects_tells_begins_a_track_whatever_its_score() -> None:
    analyzer, memory = opened()
    for at in (0.0, 0.2, 0.4):
        result = analyzer.analyze(frame(at, replace(PERSON, score=0.11)), memory)
    assert told(result) == [("person", 1)]


def test_other_options_begin_no_new_numbering() -> None:
    analyzer, memory = opened()
    for at in (0.0, 0.2):
        analyzer.analyze(frame(at, PERSON), memory)
    memory = analyzer.configure(SessionInfo("test", options=TracksOptions(lost_s=20)), memory)
    analyzer.analyze(frame(0.4), memory)
    assert told(analyzer.analyze(frame(15.0), memory)) == []
    assert told(analyzer.analyze(frame(15.2, PERSON), memory)) == [("person", 1)]


def test_two_sessions_do_not_share_ids() -> None:
    analyzer, one = opened()
    other = analyzer.open(SessionInfo("other", options=analyzer.options))
    for at in (0.0, 0.2):
        results = [analyzer.analyze(frame(at, PERSON), memory) for memory in (one, other)]
    assert [told(result) for result in results] == [[("person", 1)]] * 2


@pytest.mark.parametrize("wrong", [{"lost_s": 0}, {"lost_s": 1e9}, {"confirm_s": -1}])
def test_options_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TracksOptions(**wrong)
