"""The demo's judgement: exactly one event for each interval, within the tolerance, and no other."""

from __future__ import annotations

import pytest

from gateway.commands.report import SETTLE_S, TOLERANCE_S, Expected, Run, Seen, document, expect, judge, quantile, text
from gateway.commands.scene import Interval, truth


def problems(expected: list[Expected], *seen: Seen) -> list[str]:
    return [row.problem for row in judge(expected, seen) if row.problem]


ONE = [Expected(2.0, 5.5, "closed")]
OPEN = [Expected(2.0, 4.0, "open")]
LATE = [Expected(2.0, 2.5, "late")]


@pytest.mark.parametrize(
    ("expected", "seen", "found"),
    [
        (ONE, [Seen("a", 2.1, 5.7)], []),
        (ONE, [Seen("a", 2.0 + TOLERANCE_S, 5.5 - TOLERANCE_S)], []),
        (ONE, [], ["not seen"]),
        (ONE, [Seen("a", 3.1, 5.5)], ["not seen", "nothing moved"]),
        (ONE, [Seen("a", 2.0, 6.6)], ["ended +1.1 s off"]),
        (ONE, [Seen("a", 2.0)], ["no end was told"]),
        (ONE, [Seen("a", 2.0, 3.0), Seen("b", 2.5, 5.5)], ["ended -2.5 s off", "nothing moved"]),
        (ONE, [Seen("a", 2.0, 5.5), Seen("b", 9.0, 9.5)], ["nothing moved"]),
        ([], [Seen("a", 1.0)], ["nothing moved"]),
        ([], [], []),
        (OPEN, [Seen("a", 2.0)], []),
        (OPEN, [Seen("a", 2.0, 4.0)], []),
        (OPEN, [Seen("a", 2.0, 2.9)], ["ended -1.1 s off"]),
        (OPEN, [], ["not seen"]),
        (LATE, [], []),
        (LATE, [Seen("a", 2.2, 2.5)], []),
    ],
)
def test_judgement(expected: list[Expected], seen: list[Seen], found: list[str]) -> None:
    assert problems(expected, *seen) == found


def test_an_interval_cut_by_the_end_is_open_and_one_just_begun_is_late() -> None:
    intervals = [Interval(2.0, 5.5), Interval(8.5, 11.5)]
    assert expect(intervals, 5.5 + SETTLE_S) == [Expected(2.0, 5.5, "closed")]
    assert expect(intervals, 7.0) == [Expected(2.0, 5.5, "open")]
    assert expect(intervals, 4.0) == [Expected(2.0, 4.0, "open")]
    assert expect(intervals, 2.5) == [Expected(2.0, 2.5, "late")]
    assert expect(intervals, 2.0) == []


def test_what_really_happens_agrees_wherever_the_run_is_cut() -> None:
    """An ideal observer, whose open events end with the run, agrees with the truth at every length."""
    for duration in (tenths / 10 for tenths in range(10, 450)):
        seen = [Seen(str(one.start), one.start, min(one.end, duration)) for one in truth(duration)]
        assert problems(expect(truth(duration), duration), *seen) == [], duration


def test_a_blind_observer_never_agrees() -> None:
    for duration in (tenths / 10 for tenths in range(40, 450)):
        assert problems(expect(truth(duration), duration)), duration


def test_quantiles_are_nearest_rank() -> None:
    assert quantile([], 0.5) is None
    assert quantile([3.0], 0.95) == 3.0
    assert quantile([float(n) for n in range(1, 101)], 0.5) == 50.0
    assert quantile([float(n) for n in range(1, 101)], 0.95) == 95.0


def finished_run() -> Run:
    status = {
        "frames_in": 240,
        "frames_analyzed": 238,
        "dropped": {"motion": {"replaced": 2}},
        "analyzers": [{"name": "motion", "state": "ready", "analyzed": 238}],
    }
    run = Run("s1", {"viewer": "http://x/viewer"}, 20.0, "/t.json", 240, status, {"motion": [5.0, 7.0]}, {"motion": 1})
    run.rows = judge(ONE, [Seen("a", 2.1, 5.7)])
    return run


def test_the_report_for_people_says_what_became_of_the_frames() -> None:
    lines = text(finished_run()).splitlines()
    assert "dropped: motion, replaced       2" in lines
    assert "motion    ready       238     5.0     7.0       1" in lines
    assert "2.0-5.5 s        2.1-5.7 s  agrees" in lines
    assert lines[-1] == "motion: 1 intervals expected, 1 events seen, they agree (within 1 s)"


def test_the_report_for_machines_holds_the_same() -> None:
    report = document(finished_run())
    assert report["ok"] is True
    assert report["frames"] == {"sent": 240, "in": 240, "analyzed": 238, "dropped": {"motion": {"replaced": 2}}}
    assert report["latency_ms"] == {"motion": {"p50": 5.0, "p95": 7.0, "results": 2}}
    assert report["motion"][0]["seen"] == {"id": "a", "start": 2.1, "end": 5.7}


def test_a_run_that_failed_does_not_agree_whatever_it_saw() -> None:
    run = finished_run()
    run.failure = "the gateway went away"
    assert not run.agrees
    assert text(run).endswith("failed: the gateway went away")
