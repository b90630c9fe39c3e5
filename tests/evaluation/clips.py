"""Clips made on the spot: a bright square that crosses a dark picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np

if TYPE_CHECKING:
    from gateway.frame import Pixels

SIZE = (160, 120)


def make(path: Path, *, fps: int = 10, seconds: float = 2.0, size: tuple[int, int] = SIZE, moves: bool = True) -> Path:
    """H.264; the square starts at the left edge, and is at the right one in the end."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt, stream.options = "yuv420p", {"preset": "ultrafast", "threads": "1"}
        count = round(fps * seconds)
        for number in range(count):
            picture = drawn(size, number / max(1, count - 1) if moves else 0.0)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def drawn(size: tuple[int, int], place: float) -> Pixels:
    width, height = size
    picture = np.full((height, width, 3), 40, np.uint8)
    left = round(place * (width - width // 4))
    picture[height // 3 : 2 * height // 3, left : left + width // 4] = 220
    return picture


def bright_side(jpeg: bytes) -> str:
    """On which side of the picture the square is."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    half = picture.shape[1] // 2
    return "left" if picture[:, :half].mean() > picture[:, half:].mean() else "right"
