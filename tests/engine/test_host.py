"""AnalyzerHost: one worker's analyzers; what breaks in one of them is a report, not an end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.engine.host import AnalyzerHost, Report
from gateway.engine.plugins import PluginSpec
from gateway.results import Box, Detection, detection_to_wire
from tests.doubles import jpeg

SOURCE = '''
from dataclasses import dataclass
import sys
from gateway import Analyzer, Box, Detection, Result, hookimpl

@dataclass(frozen=True)
class Options:
    step: int = 1
    load: str = ""

class Counter(Analyzer):
    """Counts the frames of each session, and does as it is told."""
    name = "counter"
    Options = Options

    @classmethod
    def missing(cls, options):
        return "no weights: get some" if options.load == "missing" else None

    def __init__(self, options):
        super().__init__(options)
        if options.load == "raise":
            raise OSError("not enough memory\\nfor this model")

    def open(self, session):
        return {"count": 0, "step": session.options.step}

    def analyze(self, frame, memory):
        memory["count"] += memory["step"]
        if frame.seq == 66:
            raise ValueError("a bad day\\nreally")
        if frame.seq == 67:
            return {"count": 1}
        if frame.seq == 68:
            sys.exit("bye")
        if frame.seq == 69:
            return Result(data={"name": float("nan")})
        if frame.seq == 70:
            frame.to_bgr()
        return Result((Detection("frame", 1.0, Box(0, 0, 1, 1)),), {"count": memory["count"]})

    def close(self):
        raise RuntimeError("close me not")

class Double(Analyzer):
    name = "double"
    needs = ("counter",)
    def analyze(self, frame, memory):
        return Result(measures={"double": 2 * frame.results["counter"].measures["count"]})

@hookimpl
def register_analyzers():
    return [Counter, Double]
'''


@pytest.fixture
def spec(tmp_path: Path) -> PluginSpec:
    path = tmp_path / "tiny.py"
    path.write_text(SOURCE)
    return PluginSpec("tiny", path=str(path))


@pytest.fixture
def host(spec: PluginSpec) -> Iterator[AnalyzerHost]:
    made = AnalyzerHost([spec], {})
    for name in ("counter", "double"):
        made.prepare(name)
    yield made
    made.close()


def job(*stages: str, stream: str = "one", seq: int = 0, options: Any = None, results: Any = None) -> dict[str, Any]:
    return {
        "session": {"stream_id": stream, "camera_id": None, "name": ""},
        "frame": {"seq": seq, "received_at": 1000.0, "at": 0.0, "width": 32, "height": 24, "captured_at": None},
        "stages": [{"name": name, "options": options or {}} for name in stages],
        "results": results or {},
    }


def reports(host: AnalyzerHost, *stages: str, picture: bytes | None = None, **how: Any) -> list[Report]:
    """The reports without their durations."""
    found = list(host.run(job(*stages, **how), jpeg() if picture is None else picture))
    assert all(report.pop("ms") >= 0 for report in found)
    return found


def count(host: AnalyzerHost, **how: Any) -> int:
    (report,) = reports(host, "counter", **how)
    number: int = report["result"]["measures"]["count"]
    return number


def test_a_stage_reports_what_it_saw(host: AnalyzerHost) -> None:
    seen = detection_to_wire(Detection("frame", 1.0, Box(0, 0, 1, 1)))
    assert reports(host, "counter") == [
        {
            "t": "stage",
            "analyzer": "counter",
            "result": {"detections": [seen], "measures": {"count": 1}, "data": {}, "sightings": []},
        }
    ]


def test_a_later_stage_sees_what_an_earlier_one_saw(host: AnalyzerHost) -> None:
    assert reports(host, "counter", "double")[1]["result"]["measures"] == {"double": 2}


def test_results_from_another_worker_count_too(host: AnalyzerHost) -> None:
    there = {"counter": {"detections": [], "measures": {"count": 21}, "data": {}, "sightings": []}}
    assert reports(host, "double", results=there)[0]["result"]["measures"] == {"double": 42}


def test_a_stage_whose_need_is_absent_is_skipped(host: AnalyzerHost) -> None:
    assert [report.get("skipped") for report in reports(host, "double")] == ["needs"]
    assert [report.get("skipped") for report in reports(host, "counter", "double", seq=66)] == [None, "needs"]


def test_memory_belongs_to_one_session_until_it_is_forgotten(host: AnalyzerHost) -> None:
    counts = [count(host, stream=stream) for stream in ("one", "one", "two", "one")]
    host.forget("one")
    assert [*counts, count(host, stream="one"), count(host, stream="two")] == [1, 2, 1, 3, 1, 2]


def test_options_are_the_sessions_own(host: AnalyzerHost) -> None:
    assert [count(host, stream="two", options={"step": 5}), count(host, stream="one")] == [5, 1]


@pytest.mark.parametrize(
    ("seq", "error"),
    [
        (66, "ValueError: a bad day"),
        (67, "TypeError: expected a Result, detections or what a detection library returns, got dict"),
        (68, "SystemExit: bye"),
        (69, "ValueError: data.name must be finite, got nan"),
    ],
)
def test_an_analyzer_that_breaks_is_reported_on_one_line_with_its_traceback(
    host: AnalyzerHost, seq: int, error: str
) -> None:
    (report,) = reports(host, "counter", seq=seq)
    assert report["error"] == error
    assert report["traceback"].startswith("Traceback")
    assert count(host) == 2


def test_a_picture_that_does_not_decode_is_its_senders_mistake(host: AnalyzerHost) -> None:
    (report,) = reports(host, "counter", seq=70, picture=b"\xff\xd8 no picture")
    assert (report["skipped"], report["reason"]) == ("undecodable", "the picture does not decode")


def test_an_option_that_does_not_fit_is_its_senders_mistake(host: AnalyzerHost) -> None:
    (report,) = reports(host, "counter", options={"step": "many"})
    assert report["skipped"] == "unknown_option"
    assert report["reason"].startswith("analyzer counter, option step: Input should be a valid integer")


def test_what_is_not_loaded_is_skipped(spec: PluginSpec) -> None:
    assert [report["skipped"] for report in reports(AnalyzerHost([spec], {}), "counter")] == ["loading"]


@pytest.mark.parametrize(
    ("load", "reason"), [("missing", "no weights: get some"), ("raise", "OSError: not enough memory")]
)
def test_what_does_not_load_has_failed_and_says_why(spec: PluginSpec, load: str, reason: str) -> None:
    report = AnalyzerHost([spec], {"counter": {"load": load}}).prepare("counter")
    assert (report["t"], report["analyzer"], report["state"], report["reason"]) == (
        "state",
        "counter",
        "failed",
        reason,
    )


def test_the_hello_says_what_there_is_and_what_it_lacks(spec: PluginSpec) -> None:
    hello = AnalyzerHost([spec], {"counter": {"load": "missing"}, "double": {"speed": 1}}).hello()
    told = {about["name"]: (about["missing"], about["failed"]) for about in hello["analyzers"]}
    assert told == {
        "counter": ("no weights: get some", None),
        "double": (None, "analyzer double has no option speed; it has no options"),
    }


def test_loading_twice_is_loading_once(host: AnalyzerHost) -> None:
    assert count(host) == 1
    assert host.prepare("counter")["state"] == "ready"
    assert count(host) == 2


def test_a_close_that_breaks_keeps_no_other_from_closing(host: AnalyzerHost) -> None:
    host.close()
    assert [report["skipped"] for report in reports(host, "counter", "double")] == ["loading", "loading"]
