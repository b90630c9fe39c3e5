"""What authors test their analyzers with, on analyzers that are nothing but a rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from gateway import Analyzer, Box, Detection, Frame, GatewayError, Result, SessionInfo, Sighting
from gateway.testing import analyze, frame_of

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
