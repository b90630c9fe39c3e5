"""What a picture is wrapped in is made once, whatever the number of viewers."""

from __future__ import annotations

import pytest

from gateway.engine.picture import Picture
from gateway.frame import Frame
from gateway.sinks.mjpeg import _twice, _wrapped
from tests.pictures import picture


@pytest.fixture
def shown() -> Picture:
    jpeg = picture("red")
    return Picture(Frame(1, 0.0, 160, 120, jpeg), jpeg)


def test_all_viewers_get_the_same_bytes(shown: Picture) -> None:
    assert _wrapped(shown) is _wrapped(shown)
    assert _twice(shown) is _twice(shown)
    assert _twice(shown) == _wrapped(shown) * 2
    assert (_wrapped("text"), _twice("text")) == (b"", b"")
