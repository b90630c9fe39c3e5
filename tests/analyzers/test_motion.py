"""Rules of the motion analyzer, on drawn frames."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from analyzers.motion import MotionAnalyzer, MotionOptions
from gateway import Result
from tests.analyzers.stage import clip, frame_of, run

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from gateway import Event, Frame

    Picture = np.ndarray[Any, Any]

STOP_S = 4.0
QUIET = Result(measures={"area": 0.0, "regions": 0})


def scene(width: int = 480, height: int = 270, seed: int = 1) -> Picture:
    """A room with edges, textures and shades."""
    random = np.random.default_rng(seed)
    shade = np.linspace(60, 150, width)[None, :, None] * np.ones((height, 1, 3))
    picture = np.ascontiguousarray(shade.astype(np.uint8))
    for _ in range(25):
        x, y = int(random.integers(0, width)), int(random.integers(0, height))
        colour = tuple(int(value) for value in random.integers(20, 200, 3))
        cv2.rectangle(picture, (x, y), (x + int(random.integers(8, 90)), y + int(random.integers(8, 60))), colour, -1)
    return picture


def with_walker(picture: Picture, at: float) -> Picture:
    """A 24x90 px walker: 100 px a second to the right until STOP_S, still afterwards."""
    x = 20 + round(100 * min(at, STOP_S))
    walker = picture.copy()
    cv2.rectangle(walker, (x, 120), (x + 24, 210), (235, 230, 225), -1)
    return walker


def noisy(picture: Picture, seed: int, sigma: float = 6.0) -> Picture:
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


@cache
def walk(fps: float, until: float = 6.0) -> list[Frame]:
    drawn = (noisy(with_walker(scene(), index / fps), index) for index in range(round(until * fps)))
    return [frame_of(picture, at=index / fps, seq=index) for index, picture in enumerate(drawn)]


def watch(frames: list[Frame], **options: float) -> tuple[list[Result], list[Event]]:
    seen, events = run(frames, MotionAnalyzer(MotionOptions(**options)))
    return [results["motion"] for results in seen], events


def test_the_first_frame_is_quiet() -> None:
    assert watch([frame_of(scene())])[0] == [QUIET]


def test_a_walker_is_boxed_where_he_is() -> None:
    frames = [frame_of(with_walker(scene(), at), at=at) for at in (1.0, 1.5, 2.0)]
    (detection,) = watch(frames)[0][-1].detections
    found = detection.box.to_pixels(480, 270)
    assert detection.label == "motion"
    assert found == pytest.approx((220, 120, 244, 210), abs=8)


@pytest.mark.parametrize("fps", [2, 5, 10, 30])
def test_one_event_spans_the_walk_at_any_frame_rate(fps: float) -> None:
    _, events = watch(walk(fps))
    begin, *_, end = events
    assert [event.phase for event in events if event.phase != "update"] == ["new", "end"]
    assert (begin.started_at.second, begin.event_type, begin.severity) == (0, "motion", "info")
    assert end.ended_at is not None
    assert STOP_S - 0.5 <= (end.ended_at - begin.started_at).total_seconds() + begin.started_at.microsecond / 1e6 <= 4.4


@pytest.mark.parametrize("fps", [2, 30])
def test_who_stops_is_quiet_within_a_second(fps: float) -> None:
    results, _ = watch(walk(fps))
    assert results[round((STOP_S + 1) * fps) :] == [QUIET] * (len(results) - round((STOP_S + 1) * fps))


def test_sensor_noise_is_no_motion() -> None:
    frames = [frame_of(noisy(scene(), index, sigma=12), at=index / 10, quality=60) for index in range(20)]
    assert watch(frames)[0] == [QUIET] * 20


def test_jpeg_quality_changes_are_no_motion() -> None:
    frames = [frame_of(scene(), at=index / 5, quality=95 if index % 3 else 35) for index in range(12)]
    assert watch(frames)[0] == [QUIET] * 12


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 40), (1.0, -35), (0.6, 10), (1.3, 0)])
def test_a_sudden_change_of_light_is_no_motion(gain: float, offset: float) -> None:
    lit = np.clip(scene() * gain + offset, 0, 255).astype(np.uint8)
    frames = [frame_of(noisy(scene() if index < 8 else lit, index, 3), at=index / 8) for index in range(16)]
    assert watch(frames)[0] == [QUIET] * 16


def test_a_walker_is_seen_while_the_light_changes() -> None:
    def dimmed(at: float) -> Picture:
        return (with_walker(scene(), at) * (1 - 0.1 * at)).astype(np.uint8)

    results, _ = watch([frame_of(dimmed(index / 10), at=index / 10) for index in range(30)])
    assert {result.measures["regions"] for result in results[6:]} == {1}


def test_a_low_sensitivity_ignores_a_faint_walker() -> None:
    def faint(at: float) -> Picture:
        return cv2.addWeighted(scene(), 0.9, with_walker(scene(), at), 0.1, 0)

    frames = [frame_of(faint(index / 10), at=index / 10) for index in range(20)]
    assert watch(frames, sensitivity=0.0)[1] == []
    assert len(watch(frames, sensitivity=1.0)[1]) > 0


def test_regions_below_the_smallest_area_are_left_out() -> None:
    assert watch(walk(5), min_area=0.2)[1] == []


def test_a_gap_is_no_motion() -> None:
    frames = [frame_of(with_walker(scene(), at), at=at) for at in (0.0, 3.5)]
    assert watch(frames)[0] == [QUIET, QUIET]


def test_another_picture_size_starts_anew() -> None:
    sizes = [(480, 270), (270, 480), (480, 270), (100, 100)]
    assert watch([frame_of(scene(*size), at=at) for at, size in enumerate(sizes)])[0] == [QUIET] * 4


def test_one_pixel_and_grey_pictures_are_pictures() -> None:
    pixels = [frame_of(np.full((1, 1, 3), 200 * (at % 2), np.uint8), at=at) for at in range(4)]
    greys = [frame_of(cv2.cvtColor(with_walker(scene(), at), cv2.COLOR_BGR2GRAY), at=at) for at in (1.0, 2.0)]
    assert watch(pixels)[0] == [QUIET] * 4
    assert [result.measures["regions"] for result in watch(greys)[0]] == [0, 2]  # one earlier frame: both places


@pytest.mark.parametrize("option", ["sensitivity", "min_area"])
def test_options_outside_0_to_1_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be 0-1"):
        MotionOptions(**{option: 1.5})


def test_people_at_a_table_move_when_the_truth_says_so(media: Path) -> None:
    frames = list(clip(media / "clips" / "people_onebyone_45s.mp4", fps=5, until=23))
    results, _ = watch(frames)
    moving = [frame.at for frame, result in zip(frames, results, strict=True) if result.sightings]
    assert 5.7 <= moving[0] <= 6.7
    assert [at for at in moving if 20.7 < at < 22.5] == []  # nobody there
    assert any(at >= 22.5 for at in moving)
