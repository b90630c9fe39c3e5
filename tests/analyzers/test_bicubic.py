"""Pictures reach a CLIP-type model as its own preprocessing would have made them."""

from __future__ import annotations

import numpy as np
import pytest

from analyzers._bicubic import Lens

PLAIN = Lens(32, (0, 0, 0), (1, 1, 1))


def grey_levels(lens: Lens, rgb: np.ndarray, *, whole: bool = False) -> np.ndarray:
    """RGB (side, side, 3), 0-255."""
    tensor = lens.tensor(np.ascontiguousarray(rgb[..., ::-1]), whole=whole)
    assert tensor.dtype == np.float32
    levels: np.ndarray = tensor[0].transpose(1, 2, 0) * 255
    return levels


def test_it_is_resized_and_cut_as_pillow_does_it() -> None:
    """Expected: Pillow 13, `resize((42, 32), BICUBIC).crop((5, 0, 37, 32))` of the same picture."""
    y, x = np.mgrid[0:90, 0:120]
    picture = np.stack([(x * 2) % 256, (y * 3) % 256, ((x // 8 + y // 8) % 2) * 200], -1).astype(np.uint8)
    found = grey_levels(PLAIN, picture)
    known = {(0, 0): [30, 3, 120], (5, 7): [70, 45, 143], (16, 16): [122, 138, 8], (31, 31): [208, 0, 93]}
    assert {place: found[place].round().tolist() for place in known} == known
    assert found.mean((0, 1)) == pytest.approx([119.0, 122.09375, 102.78125], abs=0.05)


@pytest.mark.parametrize("shape", [(480, 640), (640, 480), (32, 32), (20, 31), (9, 300)])
def test_every_shape_becomes_the_models_square(shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), 77, np.uint8)
    for whole in (False, True):
        found = grey_levels(PLAIN, picture, whole=whole)
        assert found.shape == (32, 32, 3)
        assert found == pytest.approx(77, abs=1e-3)


def test_the_middle_is_seen_or_the_whole() -> None:
    picture = np.zeros((64, 256, 3), np.uint8)
    picture[:, :64] = 255
    assert grey_levels(PLAIN, picture).max() == 0
    assert grey_levels(PLAIN, picture, whole=True)[:, :7].min() > 250


def test_colours_are_rgb_less_the_mean_by_the_deviation() -> None:
    red = np.zeros((50, 50, 3), np.uint8)
    red[..., 2] = 255  # BGR
    lens = Lens()
    assert lens.tensor(red)[0, :, 100, 100] == pytest.approx((np.array([1, 0, 0]) - lens.mean) / lens.std, abs=1e-5)
