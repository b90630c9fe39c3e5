"""The drawn scene and its truth come from one script; here they are held against each other."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from gateway.commands.scene import HEIGHT, NOISE, PERIOD_S, SCRIPT, WIDTH, Interval, Scene, truth
from gateway.jpeg import read_header


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


def change(scene: Scene, at: float) -> float:
    """The share of pixels that differ by more than noise between `at` and 0.25 s later."""
    before, after = scene.picture(at).astype(np.int16), scene.picture(at + 0.25).astype(np.int16)
    return float((np.abs(before - after).max(axis=2) > 12 * NOISE).mean())


def test_the_first_period_has_three_intervals() -> None:
    assert list(truth(PERIOD_S)) == [Interval(2.0, 5.5), Interval(8.5, 11.5), Interval(14.5, 18.0)]


def test_the_truth_goes_on_for_ever_and_stops_where_asked() -> None:
    assert [interval.start for interval in truth(45.0)] == [2.0, 8.5, 14.5, 22.0, 28.5, 34.5, 42.0]
    assert list(truth(2.0)) == []


def test_between_intervals_there_is_time_enough_for_an_event_to_end() -> None:
    assert all(later.start - earlier.end >= 2.5 for earlier, later in pairwise(truth(5 * PERIOD_S)))


def test_pictures_move_exactly_when_the_truth_says_so(scene: Scene) -> None:
    for at in np.arange(0, PERIOD_S, 0.5).tolist():
        moving = any(interval.start < at + 0.25 and at < interval.end for interval in truth(PERIOD_S))
        assert (change(scene, at) > 0.001) == moving, at


def test_everybody_is_out_of_sight_where_the_period_begins_again(scene: Scene) -> None:
    assert change(scene, PERIOD_S - 0.125) < 0.001
    assert all(person.x(0) < 0 or person.x(0) > WIDTH for person in SCRIPT)


def test_the_sensor_has_noise_but_no_two_scenes_differ() -> None:
    one, other = Scene(), Scene()
    first, second = one.picture(1.0), one.picture(1.0)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, other.picture(1.0))


def test_a_frame_is_a_jpeg_of_the_size(scene: Scene) -> None:
    header = read_header(scene.jpeg(3.0))
    assert (header.width, header.height) == (WIDTH, HEIGHT)
