"""Brightness, tested without a server."""

import numpy as np
from framegate_brightness import Brightness

from gateway.testing import analyze


def room(level: int) -> np.ndarray:
    """A picture of one grey, with a lamp in its upper right quarter."""
    picture = np.full((240, 320, 3), level, np.uint8)
    picture[50:70, 230:250] = 255
    return picture


def test_the_box_is_around_the_lamp() -> None:
    (result,) = analyze(Brightness, [room(60)]).results
    (light,) = result.detections
    assert light.box.x1 < 240 / 320 < light.box.x2
    assert light.box.y1 < 60 / 240 < light.box.y2


def test_darkness_is_one_event_with_an_end() -> None:
    seen = analyze(Brightness, [room(100)] * 10 + [room(10)] * 30 + [room(60)] * 30)
    told = [(event.phase, event.event_type) for event in seen.events]
    assert told == [("new", "brightness.dark"), ("end", "brightness.dark")]


def test_a_sudden_light_is_a_flash() -> None:
    seen = analyze(Brightness, [room(60)] * 10 + [room(230)], {"jump": 0.4})
    assert [event.event_type for event in seen.events if event.phase == "new"] == ["brightness.flash"]
