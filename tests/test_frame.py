"""Frame: decoded only when asked, at most once, read-only."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import cv2
import numpy as np
import pytest

from gateway.errors import BadImage
from gateway.frame import Frame, decode, iso
from tests.doubles import jpeg


def frame(width: int = 640, height: int = 480, data: bytes | None = None) -> Frame:
    return Frame(0, 1000.0, width, height, jpeg(width, height) if data is None else data)


def test_pixels_are_height_by_width_bgr() -> None:
    pixels = frame(64, 48).to_bgr()
    assert (pixels.shape, pixels.dtype.name) == ((48, 64, 3), "uint8")


def test_pixels_are_decoded_once_and_shared() -> None:
    one = frame()
    assert one.to_bgr() is one.to_bgr()
    assert one.scaled(320) is one.scaled(320)


def test_pixels_are_read_only() -> None:
    one = frame()
    for pixels in (one.to_bgr(), one.scaled(320)):
        with pytest.raises(ValueError, match="read-only"):
            pixels[0, 0, 0] = 0


@pytest.mark.parametrize(
    ("size", "side", "scaled"),
    [
        ((640, 480), 320, (320, 240)),
        ((480, 640), 320, (240, 320)),
        ((1000, 10), 100, (100, 1)),
        ((641, 479), 81, (81, 61)),
    ],
)
def test_scaled_keeps_the_ratio_and_fits_the_side(size: tuple[int, int], side: int, scaled: tuple[int, int]) -> None:
    assert frame(*size).scaled(side).shape == (scaled[1], scaled[0], 3)


def test_scaled_never_enlarges() -> None:
    small = frame(64, 48)
    assert small.scaled(640) is small.to_bgr()


@pytest.mark.parametrize("side", [600, 320, 100, 60, 20])
def test_scaled_looks_like_the_whole_picture_scaled(side: int) -> None:
    y, x = np.mgrid[0:480, 0:640]
    wave = (128 + 60 * np.sin(x / 40) + 60 * np.cos(y / 30)).astype(np.uint8)
    done, data = cv2.imencode(".jpg", cv2.merge([wave, wave, 255 - wave]))
    assert done
    whole = frame(data=data.tobytes())
    reference = cv2.resize(whole.to_bgr(), whole.scaled(side).shape[1::-1], interpolation=cv2.INTER_AREA)
    fresh = frame(data=data.tobytes()).scaled(side)
    assert np.abs(fresh.astype(int) - reference.astype(int)).mean() < 2


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff\xd9", b"not a picture"])
def test_what_does_not_decode_is_a_bad_image(data: bytes) -> None:
    with pytest.raises(BadImage):
        frame(data=data).to_bgr()
    with pytest.raises(BadImage):
        decode(data, reduction=8)


def test_a_frame_does_not_print_its_bytes() -> None:
    assert len(repr(frame())) < 300


def test_a_frame_costs_no_opencv_until_somebody_wants_pixels() -> None:
    code = "import sys; from gateway.frame import Frame; Frame(0, 0.0, 1, 1, b''); print('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (None, None),
        (datetime(2026, 11, 21, 6, 49, 9, 123999, tzinfo=UTC), "2026-11-21T06:49:09.123Z"),
        (datetime(2026, 11, 21, 6, 0, tzinfo=timezone(timedelta(hours=2))), "2026-11-21T04:00:00.000Z"),
    ],
)
def test_times_are_utc_with_milliseconds(moment: datetime | None, text: str | None) -> None:
    assert iso(moment) == text
