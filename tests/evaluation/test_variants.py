"""Variants of a clip: what they do to its pictures, its times and the boxes found in it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from gateway.evaluation.frames import frames, measured, still
from gateway.evaluation.material import Clip
from gateway.evaluation.variants import CORE, VARIANTS, chosen
from gateway.jpeg import read_header
from gateway.results import Box
from tests.evaluation.clips import SIZE, bright_side, drawn, make


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2 s at 10 frames a second."""
    return make(tmp_path_factory.mktemp("clips") / "square.mp4")


def test_the_original_has_every_frame_at_its_own_time(clip: Path) -> None:
    times = [picture.at for picture in frames(clip, VARIANTS["original"])]
    assert times == pytest.approx([number / 10 for number in range(20)], abs=1e-4)


def test_a_clip_is_measured(clip: Path) -> None:
    found = measured(Clip("square", clip, {}))
    assert found.size == SIZE
    assert found.seconds == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize(("name", "count", "step"), [("5fps", 10, 0.2), ("25fps", 48, 0.04)])
def test_a_rate_leaves_frames_out_or_repeats_them(clip: Path, name: str, count: int, step: float) -> None:
    times = [picture.at for picture in frames(clip, VARIANTS[name])]
    assert len(times) == count
    assert {round(after - before, 3) for before, after in pairwise(times)} == {step}


@pytest.mark.parametrize(
    ("name", "size"),
    [("half", (80, 60)), ("1080", (1440, 1080)), ("320", (426, 320)), ("mirrored", SIZE), ("dark", SIZE)],
)
def test_sizes(clip: Path, name: str, size: tuple[int, int]) -> None:
    header = read_header(next(frames(clip, VARIANTS[name])).jpeg)
    assert (header.width, header.height) == size


def test_mirrored_pictures_and_boxes_change_sides(clip: Path) -> None:
    first = next(frames(clip, VARIANTS["mirrored"])).jpeg
    assert (bright_side(first), bright_side(next(frames(clip, VARIANTS["original"])).jpeg)) == ("right", "left")
    box = VARIANTS["mirrored"].box_in_clip(Box(0.7, 0.2, 0.9, 0.6))
    assert tuple(box) == pytest.approx((0.1, 0.2, 0.3, 0.6))


def test_another_clip_comes_before_at_negative_times_and_at_this_ones_size(clip: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other.mp4", fps=2, seconds=9, size=(64, 64))
    found = list(frames(clip, VARIANTS["before"], other))
    times = [picture.at for picture in found]
    assert times == sorted(times)
    assert times[0] == -20.0
    assert sum(at < 0 for at in times) == pytest.approx(40, abs=2)  # 2 a second, for 20 s
    assert [at for at in times if at >= 0] == [picture.at for picture in frames(clip, VARIANTS["original"])]
    assert {(header.width, header.height) for header in (read_header(one.jpeg) for one in found)} == {SIZE}


@pytest.mark.parametrize(("name", "darker"), [("dark", True), ("bright", False)])
def test_light(name: str, darker: bool) -> None:
    picture = drawn(SIZE, 0.0)
    assert bool(VARIANTS[name].apply(picture, 0.0).mean() < picture.mean()) is darker


def test_clouds_pass() -> None:
    picture = drawn(SIZE, 0.0)
    means = [VARIANTS["clouds"].apply(picture, at).mean() for at in (0.0, 7.5, 22.5)]
    assert means[2] < means[0] < means[1]


def test_poor_jpeg_is_smaller_and_blur_softens(clip: Path) -> None:
    plain = next(frames(clip, VARIANTS["original"])).jpeg
    assert len(next(frames(clip, VARIANTS["jpeg30"])).jpeg) < len(plain)
    sharp, soft = drawn(SIZE, 0.5), VARIANTS["blurred"].apply(drawn(SIZE, 0.5), 0.0)
    assert cv2.Laplacian(soft, cv2.CV_64F).var() < cv2.Laplacian(sharp, cv2.CV_64F).var()


def test_times_can_be_moved_by_whole_seconds_without_rounding(clip: Path) -> None:
    for picture in frames(clip, VARIANTS["25fps"]):
        assert (picture.at + 123_456.0) - 123_456.0 == picture.at


def test_a_still_is_shown_for_a_while(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "p.png"), np.zeros((20, 30, 3), np.uint8))
    shown = list(still(tmp_path / "p.png", VARIANTS["original"], 2.0))
    assert (len(shown), shown[-1].at, len({one.jpeg for one in shown})) == (11, 2.0, 1)
    assert len(list(still(tmp_path / "p.png", VARIANTS["original"], 0.0))) == 1


@pytest.mark.parametrize(("variant", "same"), [("original", True), ("mirrored", False), ("jpeg30", False)])
def test_a_jpeg_goes_as_it_is_unless_the_variant_changes_it(variant: str, same: bool, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "p.jpg"), drawn(SIZE, 0.2), [cv2.IMWRITE_JPEG_QUALITY, 97])
    shown = next(still(tmp_path / "p.jpg", VARIANTS[variant], 0.0)).jpeg
    assert (shown == (tmp_path / "p.jpg").read_bytes()) is same


def test_variants_are_chosen_by_name() -> None:
    assert [one.name for one in chosen("core")] == list(CORE)
    assert [one.name for one in chosen("dark, core,dark")] == ["dark", *CORE]
    assert len(chosen("all")) == len(VARIANTS)
    with pytest.raises(ValueError, match="there is no variant sideways; there are core, all, original"):
        chosen("sideways")
