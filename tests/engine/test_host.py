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

class Many(Analyzer):
    name = "many"
    batch = 4
    side = 10

    def open(self, session):
        return [session.options]

    def analyze(self, frame, memory):
        if frame.seq == 66:
            raise ValueError("poisoned")
        memory.append(frame.seq)
        return Result(measures={"alone": 1, "width": frame.scaled(10).shape[1]})

    def analyze_batch(self, frames, memories):
        if any(frame.seq == 66 for frame in frames):
            raise RuntimeError("one of them is bad")
        if frames[0].seq == 67:
            return [Result()]
        if frames[0].seq == 68:
            return None
        found = [Result(measures={"of": len(frames), "seq": frame.seq}) for frame in frames]
        if frames[0].seq == 69:
            found[0] = {"not": "a result"}
        for frame, memory in zip(frames, memories, strict=True):
            memory.append(frame.seq)
        return found

@dataclass(frozen=True)
class Wishes:
    zoom: int = 1

class Tuned(Analyzer):
    """Keeps its count when its options change."""
    name = "tuned"
    Options = Wishes

    def open(self, session):
        return {"count": 0, "zoom": session.options.zoom}

    def configure(self, session, memory):
        if session.options.zoom == 13:
            raise ValueError("not 13")
        return {"count": memory["count"], "zoom": session.options.zoom}

    def analyze(self, frame, memory):
        memory["count"] += 1
        return Result(measures=dict(memory))

class Changed(Analyzer):
    """Changes its result after it was checked, and holds what no result may."""
    name = "changed"
    device = "abacus"

    def analyze(self, frame, memory):
        result = Result(data={"value": 1})
        result.data["value"] = {1, 2} if frame.seq else float("nan")
        return result

@hookimpl
def register_analyzers():
    return [Counter, Double, Many, Tuned, Changed]
'''


@pytest.fixture
def spec(tmp_path: Path) -> PluginSpec:
    path = tmp_path / "tiny.py"
    path.write_text(SOURCE)
    return PluginSpec("tiny", path=str(path))


@pytest.fixture
def host(spec: PluginSpec) -> Iterator[AnalyzerHost]:
    made = AnalyzerHost([spec], {})
    for name in ("counter", "double", "many", "tuned", "changed"):
        made.prepare(name)
    yield made
    made.close()


def job(*analyzers: str, stream: str = "one", seq: int = 0, options: Any = None, results: Any = None) -> dict[str, Any]:
    """One frame, and a call of each of these analyzers about it."""
    item = {
        "session": {"stream_id": stream, "camera_id": None, "name": ""},
        "frame": {"seq": seq, "received_at": 1000.0, "at": 0.0, "width": 32, "height": 24, "captured_at": None},
        "results": results or {},
    }
    asked = [{"item": 0, "options": options or {}}]
    return {"items": [item], "calls": [{"analyzer": name, "items": asked} for name in analyzers]}


def reports(host: AnalyzerHost, *analyzers: str, picture: bytes | None = None, **how: Any) -> list[Report]:
    """The outcomes of the calls about one frame."""
    order = job(*analyzers, **how)
    found = list(host.run(host.begin(order, [jpeg() if picture is None else picture])))
    assert [(report["t"], report["analyzer"]) for report in found] == [("call", name) for name in analyzers]
    assert all(report["ms"] >= 0 for report in found)
    return [outcome for report in found for outcome in report["outcomes"]]


def count(host: AnalyzerHost, **how: Any) -> int:
    (report,) = reports(host, "counter", **how)
    number: int = report["result"]["measures"]["count"]
    return number


def test_a_stage_reports_what_it_saw(host: AnalyzerHost) -> None:
    seen = detection_to_wire(Detection("frame", 1.0, Box(0, 0, 1, 1)))
    assert reports(host, "counter") == [
        {"result": {"detections": [seen], "measures": {"count": 1}, "data": {}, "sightings": []}}
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
    assert {name: told[name] for name in ("counter", "double")} == {
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


# --- batches ---------------------------------------------------------------------------------------------------------


def batch(host: AnalyzerHost, *seqs: int, analyzer: str = "many", bad: int | None = None) -> list[Report]:
    """The reports of one call about a frame of each of so many streams; frame `bad` of them is no picture."""
    items = [job(analyzer, stream=f"stream-{n}", seq=seq)["items"][0] for n, seq in enumerate(seqs)]
    asked = [{"item": number, "options": {}} for number in range(len(items))]
    order = {"items": items, "calls": [{"analyzer": analyzer, "items": asked}]}
    pictures = [b"\xff\xd8 no picture" if number == bad else jpeg() for number in range(len(items))]
    return list(host.run(host.begin(order, pictures)))


def told(report: Report) -> list[Any]:
    """The measures of each outcome, or else its error or reason."""
    return [
        outcome["result"]["measures"] if "result" in outcome else outcome.get("error") or outcome["skipped"]
        for outcome in report["outcomes"]
    ]


def test_frames_of_several_streams_are_looked_at_in_one_call(host: AnalyzerHost) -> None:
    (report,) = batch(host, 1, 2, 3)
    assert told(report) == [{"of": 3, "seq": 1}, {"of": 3, "seq": 2}, {"of": 3, "seq": 3}]


def test_a_batch_that_raises_is_tried_again_frame_by_frame(host: AnalyzerHost) -> None:
    *alone, report = batch(host, 1, 66, 3)
    assert [(one["t"], one["item"]) for one in alone] == [("alone", 0), ("alone", 1), ("alone", 2)]
    assert told(report) == [{"alone": 1, "width": 10}, "ValueError: poisoned", {"alone": 1, "width": 10}]


def test_a_batch_that_returns_nothing_is_tried_again_frame_by_frame(host: AnalyzerHost) -> None:
    assert told(batch(host, 68, 2)[-1]) == [{"alone": 1, "width": 10}] * 2


def test_a_frame_that_does_not_decode_is_taken_out_of_its_batch(host: AnalyzerHost) -> None:
    (report,) = batch(host, 1, 2, 3, bad=1)
    assert told(report) == [{"of": 2, "seq": 1}, "undecodable", {"of": 2, "seq": 3}]


def test_a_batch_of_which_one_frame_is_left_is_no_batch(host: AnalyzerHost) -> None:
    assert told(batch(host, 1, 2, bad=0)[-1]) == ["undecodable", {"alone": 1, "width": 10}]


def test_too_few_results_of_a_batch_are_an_error_that_says_so(host: AnalyzerHost) -> None:
    (report,) = batch(host, 67, 2, 3)
    assert told(report) == ["TypeError: analyze_batch gave 1 results for 3 frames"] * 3


def test_one_bad_result_of_a_batch_spoils_no_other(host: AnalyzerHost) -> None:
    bad, good = told(batch(host, 69, 2)[0])
    assert (bad[:10], good) == ("TypeError:", {"of": 2, "seq": 2})


def test_an_analyzer_without_a_batch_of_its_own_is_asked_frame_by_frame(host: AnalyzerHost) -> None:
    *alone, report = batch(host, 1, 66, 3, analyzer="counter")
    assert (len(alone), told(report)) == (3, [{"count": 1}, "ValueError: a bad day", {"count": 1}])


def test_loading_tells_how_many_frames_it_likes_at_once_and_what_it_runs_on(host: AnalyzerHost) -> None:
    about = {name: host.prepare(name) for name in ("many", "counter", "changed")}
    assert {name: (report["batch"], report["device"]) for name, report in about.items()} == {
        "many": (4, None),
        "counter": (0, None),
        "changed": (0, "abacus"),
    }


# --- options that change, results that break the rules ---------------------------------------------------------------


def zoom(host: AnalyzerHost, value: Any) -> Any:
    (outcome,) = reports(host, "tuned", options={"zoom": value})
    return outcome["result"]["measures"] if "result" in outcome else outcome.get("error") or outcome["skipped"]


def test_a_memory_is_configured_when_its_streams_options_change(host: AnalyzerHost) -> None:
    seen = [zoom(host, value) for value in (1, 1, 2, "much", 13, 2, 3)]
    assert seen == [
        {"count": 1, "zoom": 1},
        {"count": 2, "zoom": 1},
        {"count": 3, "zoom": 2},
        "unknown_option",
        "ValueError: not 13",
        {"count": 4, "zoom": 2},
        {"count": 5, "zoom": 3},
    ]


def test_one_analyzer_of_a_stream_can_be_forgotten_alone(host: AnalyzerHost) -> None:
    assert (count(host), zoom(host, 1)["count"]) == (1, 1)
    host.forget("one", "tuned")
    assert (count(host), zoom(host, 1)["count"]) == (2, 1)


def test_a_result_is_made_plain_as_it_leaves(host: AnalyzerHost) -> None:
    broken, plain = reports(host, "changed", seq=0) + reports(host, "changed", seq=1)
    assert broken["error"] == "ValueError: data: it.value must be finite, got nan"
    assert plain["result"]["data"] == {"value": [1, 2]}
