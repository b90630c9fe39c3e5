"""What authors test their analyzers with, on analyzers that are nothing but a rule."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway import Analyzer, Box, Detection, Frame, GatewayError, Result, SessionInfo, Sighting
from gateway.testing import Session, Tolerance, analyze, assert_same, frame_of
from gateway.testing.process_rules import slope_of

BLACK, WHITE = np.zeros((40, 60, 3), np.uint8), np.full((40, 60, 3), 255, np.uint8)


@dataclass(frozen=True)
class Options:
    level: float = 0.5


class Light(Analyzer):
    """Sights light, counts frames."""

    name = "light"
    Options = Options

    def open(self, session: SessionInfo) -> Any:
        return {"level": session.options.level, "frames": 0}

    def analyze(self, frame: Frame, memory: Any) -> Result:
        memory["frames"] += 1
        lit = frame.to_bgr().mean() / 255 > memory["level"]
        return Result(measures={"frames": memory["frames"]}, sightings=(Sighting("lit", linger_s=0.5),) if lit else ())


class Counter(Analyzer):
    """Counts what `light` found."""

    name = "counter"
    needs = ("light",)

    def analyze(self, frame: Frame, memory: Any) -> Result:
        return Result(measures={"found": len(frame.results["light"].detections)})


def test_there_is_one_result_per_picture_and_one_memory() -> None:
    seen = analyze(Light, [BLACK, WHITE, BLACK])
    assert [result.measures["frames"] for result in seen.results] == [1, 2, 3]


def test_events_begin_and_end_as_in_the_gateway() -> None:
    seen = analyze(Light, [BLACK] * 5 + [WHITE] * 5 + [BLACK] * 10, fps=10)
    assert [(event.phase, event.event_type, event.seq) for event in seen.events] == [
        ("new", "lit", 5),
        ("end", "lit", 5),
    ]
    assert (seen.events[1].ended_at - seen.events[1].started_at).total_seconds() == pytest.approx(0.4)  # type: ignore


def test_an_event_that_is_still_open_ends_with_the_pictures() -> None:
    assert [event.phase for event in analyze(Light, [WHITE]).events] == ["new", "end"]


def test_options_are_checked_as_in_the_gateway() -> None:
    assert analyze(Light, [WHITE], {"level": 1}).events == ()
    with pytest.raises(GatewayError, match="did you mean level"):
        analyze(Light, [WHITE], {"levle": 1})


def test_results_of_others_are_given_with_the_frame() -> None:
    found = Result((Detection("lamp", 1.0, Box(0, 0, 1, 1)),))
    seen = analyze(Counter, [frame_of(WHITE, results={"light": found})])
    assert seen.results[0].measures == {"found": 1}


def test_pictures_go_through_jpeg_as_a_cameras_do() -> None:
    frame = frame_of(WHITE)
    assert (frame.width, frame.height, frame.jpeg[:2]) == (60, 40, b"\xff\xd8")
    assert frame_of(frame.jpeg).jpeg == frame.jpeg


def test_what_is_no_analyzer_or_no_result_is_refused() -> None:
    class Nothing(Analyzer):
        name = "nothing"

    class Words(Analyzer):
        name = "words"

        def analyze(self, frame: Frame, memory: Any) -> Any:
            return "seen"

    with pytest.raises(TypeError, match="does not define analyze"):
        analyze(Nothing, [])
    with pytest.raises(TypeError, match=r"expected a Result, .* got str"):
        analyze(Words, [WHITE])


def test_a_session_takes_one_picture_at_a_time_and_shows_its_memory() -> None:
    session = Session(Light, {"level": 0.2})
    assert session.push(BLACK).measures == {"frames": 1}
    session.push(WHITE, at=7.0)
    assert session.memory == {"level": 0.2, "frames": 2}
    assert [(event.phase, event.seq) for event in session.events] == [("new", 1)]
    session.push(BLACK)
    session.push(BLACK, at=8.0)
    assert [event.phase for event in session.events] == ["new", "end"]


def test_closing_a_session_ends_its_events_once() -> None:
    session = Session(Light)
    session.push(WHITE)
    session.close()
    session.close()
    assert [event.phase for event in session.events] == ["new", "end"]


GOLDEN = Result((Detection("cat", 0.8, Box(0.1, 0.1, 0.3, 0.3)),), {"cats": 1}, (Sighting("pets.cat"),))


def test_results_within_the_tolerance_are_the_same() -> None:
    assert_same(replace(GOLDEN, detections=(Detection("cat", 0.81, Box(0.1, 0.1, 0.3, 0.301)),)), GOLDEN)


def test_the_order_of_detections_is_none() -> None:
    dog = Detection("dog", 0.5, Box(0.5, 0.5, 0.9, 0.9))
    before = replace(GOLDEN, detections=(*GOLDEN.detections, dog))
    assert_same(replace(GOLDEN, detections=(dog, *GOLDEN.detections)), before)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"detections": ()}, "cat at (0.100, 0.100, 0.300, 0.300) vanished"),
        ({"detections": (*GOLDEN.detections, *GOLDEN.detections)}, "cat at (0.100, 0.100, 0.300, 0.300) appeared"),
        (
            {"detections": (Detection("cat", 0.8, Box(0.15, 0.1, 0.35, 0.3)),)},
            "cat at (0.100, 0.100, 0.300, 0.300) moved to (0.150, 0.100, 0.350, 0.300): IoU 0.60",
        ),
        (
            {"detections": (Detection("cat", 0.7, Box(0.1, 0.1, 0.3, 0.3)),)},
            "cat at (0.100, 0.100, 0.300, 0.300): score 0.800 -> 0.700",
        ),
        (
            {"detections": (Detection("cat", 0.8, Box(0.1, 0.1, 0.3, 0.3), track_id=3),)},
            "cat at (0.100, 0.100, 0.300, 0.300): track_id None -> 3",
        ),
        ({"measures": {"cats": 2}}, "measure cats: 1 -> 2"),
        ({"measures": {}}, "measure cats: 1 -> None"),
        ({"data": {"mood": "good"}}, "data: {} -> {'mood': 'good'}"),
        ({"sightings": ()}, "sighting pets.cat of scene vanished"),
    ],
)
def test_every_difference_from_the_golden_result_is_named(change: dict[str, Any], text: str) -> None:
    with pytest.raises(AssertionError) as failed:
        assert_same(replace(GOLDEN, **change), GOLDEN)
    assert str(failed.value).splitlines() == ["not the golden result:", f"  {text}"]


def test_a_tolerance_is_read_from_text() -> None:
    assert Tolerance.parse("iou=0.5, score=0.1") == Tolerance(iou=0.5, score=0.1)
    assert Tolerance.parse("") == Tolerance()


def test_a_steady_growth_is_a_leak_and_one_late_allocation_is_none() -> None:
    kilobyte = 1024
    steady = slope_of([n * 50 * kilobyte for n in range(21)], 50)
    late = slope_of([0] * 11 + [5000 * kilobyte] * 10, 50)
    assert (steady.mean, steady.half, steady.frames, steady.leaks) == (1.0, 0.0, 1000, True)
    assert (late.mean, late.leaks) == (5.0, False)
    assert late.detectable > 10


FIXTURES = """
import pytest
from analyzers.motion import MotionAnalyzer
from gateway import Result

def test_session_and_drawn(session, drawn):
    watching = session(MotionAnalyzer, {"sensitivity": 0.5})
    results = [watching.push(picture) for picture in drawn(20)]
    assert [event.event_type for event in watching.events] == ["motion"]
    assert [one.shape for one in drawn(1)] == [(360, 640, 3)]

def test_frames(frames, tmp_path, drawn):
    import cv2
    for number, picture in enumerate(drawn(6)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    found = frames(tmp_path, fps=5, limit=4, results={"objects": Result()})
    assert [(one.seq, one.at, one.width) for one in found] == [(0, 0, 640), (1, .2, 640), (2, .4, 640), (3, .6, 640)]
    assert found[0].results == {"objects": Result()}
    assert [one.at for one in frames(limit=3, fps=2)] == [0, 0.5, 1.0]

def test_golden(golden, session, drawn):
    watching = session(MotionAnalyzer)
    golden([watching.push(picture) for picture in drawn(10)][-1], "yard")
"""
GATEWAY = """
import pytest
from gateway.testing.running import GatewayFailed

def test_gateway(gateway, drawn):
    running = gateway("light.py", analysis__deadline_s="5")
    assert running.url.startswith("http://127.0.0.1:")
    seen = running.push(drawn(4), analyzers=["light"], options={"light": {"level": 0.01}})
    assert [one["light"]["measures"]["frames"] for one in seen.results] == [1, 2, 3, 4]
    assert [(one["phase"], one["event_type"]) for one in seen.events] == [("new", "lit"), ("end", "lit")]
    with pytest.raises(GatewayFailed, match="no detection model"):
        running.push(drawn(1), analyzers=["objects"])
"""


def authors_tests(folder: Path, text: str, *arguments: str) -> str:
    """What pytest says of an author's tests, in a process of its own."""
    (folder / "conftest.py").write_text('pytest_plugins = ["gateway.testing.fixtures"]\n')
    (folder / "test_mine.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, "test_mine.py"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("FRAMEGATE_", "PYTEST_"))}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)
    return done.stdout


@pytest.mark.slow
def test_the_fixtures_serve_an_authors_tests(tmp_path: Path) -> None:
    assert "there is no" in authors_tests(tmp_path, FIXTURES, "-k", "golden")
    assert "3 passed" in authors_tests(tmp_path, FIXTURES, "--update-golden")
    assert "3 passed" in authors_tests(tmp_path, FIXTURES)
    golden = tmp_path / "golden" / "yard.json"
    golden.write_text(golden.read_text().replace('"label": "motion"', '"label": "fire"'))
    assert "fire at" in authors_tests(tmp_path, FIXTURES, "-k", "golden")


@pytest.mark.slow
@pytest.mark.e2e
def test_the_gateway_fixture_is_a_real_gateway(tmp_path: Path) -> None:
    source = inspect.getsource(Options), inspect.getsource(Light)
    imports = "from dataclasses import dataclass\nfrom typing import Any\nfrom gateway import *\n"
    hook = "\n@hookimpl\ndef register_analyzers():\n    return [Light]\n"
    (tmp_path / "light.py").write_text("\n\n".join((imports, *source, hook)))
    assert "1 passed" in authors_tests(tmp_path, GATEWAY)
