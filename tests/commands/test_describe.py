from __future__ import annotations

from typing import Any

from gateway.commands.describe import describe_event, describe_results


def test_an_ended_event_says_how_long_it_lasted() -> None:
    event = {
        "event_type": "abandoned",
        "phase": "end",
        "severity": "warning",
        "label": "suitcase",
        "score": 0.914,
        "bag_id": "b1",
        "person_id": None,
        "started_at": "2026-11-21T06:49:09.123Z",
        "ended_at": "2026-11-21T06:49:12.523Z",
    }
    assert describe_event(event) == "abandoned end  warning, suitcase, score 0.91, bag b1, lasted 3.4 s"


def test_an_open_event_has_no_duration_and_its_label_is_not_said_twice() -> None:
    event = {
        "event_type": "motion",
        "phase": "new",
        "severity": "info",
        "label": "motion",
        "score": 1,
        "ended_at": None,
    }
    assert describe_event(event) == "motion new  info, score 1.00"


def test_results_are_one_line() -> None:
    latest: dict[str, dict[str, Any]] = {
        "objects": {"state": "ready", "age_ms": 41.6, "detections": [{"label": "person"}, {"label": "person"}]},
        "motion": {"detections": []},
        "smoking": {"state": "loading"},
    }
    assert describe_results(latest) == "motion nothing  objects 2 person (42 ms)  smoking loading"
    assert describe_results({}) == "no results yet"
