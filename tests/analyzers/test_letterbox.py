"""A letterbox keeps proportions, wastes no more than it must, and its way back is exact."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers._letterbox import Letterbox, pixels_for
from tests.analyzers.stage import frame_of

sizes = st.tuples(st.integers(1, 4000), st.integers(1, 4000))
sides = st.sampled_from([32, 320, 416, 640, 1280])
boxes = st.tuples(*[st.floats(0, 1) for _ in range(4)])


def into(letterbox: Letterbox, box: tuple[float, ...]) -> np.ndarray:
    """A 0-1 box of the picture in px of the canvas."""
    extent = np.array([letterbox.width, letterbox.height] * 2)
    moved: np.ndarray = np.array([box]) * extent + np.array([letterbox.left, letterbox.top] * 2)
    return moved


@given(sizes, sides, boxes)
def test_boxes_come_back_exactly(size: tuple[int, int], side: int, box: tuple[float, ...]) -> None:
    for letterbox in (
        Letterbox.rectangle(size, side, 32),
        Letterbox.fixed(size, (side, side)),
        Letterbox.fixed(size, (side, 320), centred=False),
    ):
        np.testing.assert_allclose(letterbox.to_frame(into(letterbox, box)), [box], atol=1e-9)


@given(sizes, sides)
def test_the_picture_lies_inside_and_keeps_its_proportions(size: tuple[int, int], side: int) -> None:
    for letterbox in (Letterbox.rectangle(size, side, 32), Letterbox.fixed(size, (side, 320))):
        assert 0 <= letterbox.left <= letterbox.canvas_width - letterbox.width
        assert 0 <= letterbox.top <= letterbox.canvas_height - letterbox.height
        # Rounding to whole pixels changes each side by half a pixel at most, or makes it the one pixel it needs.
        scale = letterbox.width / size[0] if size[0] >= size[1] else letterbox.height / size[1]
        assert abs(letterbox.width - size[0] * scale) <= 1
        assert abs(letterbox.height - size[1] * scale) <= 1


@given(sizes, sides)
def test_a_rectangle_pads_less_than_a_stride(size: tuple[int, int], side: int) -> None:
    letterbox = Letterbox.rectangle(size, side, 32)
    assert max(letterbox.width, letterbox.height) == side
    assert letterbox.canvas_width % 32 == letterbox.canvas_height % 32 == 0
    assert letterbox.canvas_width - letterbox.width < 32
    assert letterbox.canvas_height - letterbox.height < 32


@pytest.mark.parametrize(
    ("size", "canvas"),
    [((480, 360), (640, 480)), ((640, 360), (640, 384)), ((428, 344), (640, 544)), ((1, 1), (640, 640))],
)
def test_a_rectangle_is_as_large_as_the_picture_needs(size: tuple[int, int], canvas: tuple[int, int]) -> None:
    letterbox = Letterbox.rectangle(size, 640, 32)
    assert (letterbox.canvas_width, letterbox.canvas_height) == canvas


def test_filling_equals_resize_border_and_blob() -> None:
    picture = np.random.default_rng(1).integers(0, 255, (100, 160, 3)).astype(np.uint8)
    letterbox = Letterbox.fixed((160, 100), (128, 128))
    resized = cv2.resize(picture, (128, 80))
    bordered = cv2.copyMakeBorder(resized, 24, 24, 0, 0, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    blob = cv2.dnn.blobFromImage(bordered, 1 / 255, swapRB=True)
    np.testing.assert_allclose(letterbox.fill(picture), blob, atol=1e-6)


def test_bgr_of_0_to_255_goes_in_as_it_is() -> None:
    picture = np.full((2, 4, 3), (10, 20, 30), np.uint8)
    filled = Letterbox.fixed((4, 2), (4, 4), centred=False).fill(picture, rgb=False, scale=1)
    assert filled[0, :, 0, 0].tolist() == [10, 20, 30]
    assert filled[0, :, 3, 3].tolist() == [114, 114, 114]


def test_large_pictures_are_decoded_small() -> None:
    frame = frame_of(np.zeros((720, 1280, 3), np.uint8))
    assert pixels_for(frame, 640).shape == (360, 640, 3)
    assert pixels_for(frame, 641).shape == (720, 1280, 3)
