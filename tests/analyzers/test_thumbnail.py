"""A thumbnail shows what it was asked for and fits into an event, whatever the picture."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING

import numpy as np
import pytest

from analyzers._thumbnail import LIMIT, cut, thumbnail
from gateway import Box
from gateway.frame import decode
from tests.analyzers import tiny_models
from tests.analyzers.stage import frame_of

if TYPE_CHECKING:
    from typing import Any

RED = Box(0.5, 0.5, 0.75, 1.0)  # the red square of the drawn picture


def picture_of(text: str) -> np.ndarray[Any, Any]:
    return decode(b64decode(text, validate=True))


def noise(width: int, height: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_it_shows_the_box() -> None:
    shown = picture_of(thumbnail(frame_of(tiny_models.picture(), quality=100), RED, margin=0))
    assert shown.shape == (32, 32, 3)
    assert shown.mean(axis=(0, 1)) == pytest.approx((0, 0, 255), abs=6)


def test_the_margin_is_a_share_of_the_box_and_ends_at_the_frame() -> None:
    shown = picture_of(thumbnail(frame_of(tiny_models.picture()), RED, margin=0.5))
    assert shown.shape == (48, 64, 3)


def test_a_large_part_is_made_smaller_and_keeps_its_shape() -> None:
    frame = frame_of(tiny_models.picture(1280, 720))
    assert picture_of(thumbnail(frame, Box(0, 0, 1, 1))).shape == (108, 192, 3)


@pytest.mark.parametrize("size", [(1920, 1080), (200, 200), (30, 400)])
def test_noise_of_any_size_fits(size: tuple[int, int]) -> None:
    text = thumbnail(frame_of(noise(*size), quality=100), Box(0, 0, 1, 1), side=1000)
    assert 1000 < len(text) <= LIMIT


def test_an_empty_box_at_the_edge_is_one_pixel() -> None:
    assert cut(frame_of(tiny_models.picture()), Box(1, 1, 1, 1)).shape == (1, 1, 3)


def test_the_same_frame_and_box_give_the_same_text() -> None:
    frames = [frame_of(noise(300, 200)) for _ in range(2)]
    assert thumbnail(frames[0], RED) == thumbnail(frames[1], RED)
