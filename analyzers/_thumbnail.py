"""Thumbnail: a part of a frame as a JPEG small enough to travel inside an event's `data`.

Events and sightings are JSON, copied to every viewer and kept, so the limit is one of text, not of pixels: a
thumbnail is at most `LIMIT` characters of base64, whatever it shows.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import cv2

from gateway import Box

if TYPE_CHECKING:
    from analyzers._letterbox import Pixels
    from gateway import Frame

LIMIT = 8192  # characters of base64; 6 KB of JPEG
SIDE = 192  # px, the longer side: a person can be told by his clothes, a face still be seen
QUALITIES = (80, 65, 50, 35)  # tried in turn; below 35 a smaller picture shows more than a coarser one
LEAST_SIDE = 16  # px; what is that small fits at any quality


def thumbnail(frame: Frame, box: Box, *, margin: float = 0.1, side: int = SIDE) -> str:
    """The part of the frame in `box`, widened on each side by `margin` of its own size, as JPEG in base64.

    The longer side is at most `side` px and never enlarged. The same frame and box give the same text. Costs a decode
    of the whole frame if nobody did that yet, and about 1 ms: make one when there is something better to show, not for
    every frame. Raises `BadImage` for a frame that does not decode.
    """
    picture = cut(frame, box, margin=margin)
    longest = max(picture.shape[:2])
    side = min(side, longest)
    while True:
        small = _resized(picture, side / longest)
        for quality in QUALITIES:
            text = b64encode(_jpeg(small, quality)).decode("ascii")
            if len(text) <= LIMIT or side <= LEAST_SIDE:
                return text
        side = max(LEAST_SIDE, side * 3 // 4)


def cut(frame: Frame, box: Box, *, margin: float = 0.0) -> Pixels:
    """The px of the frame in `box`, widened by `margin` of its own size and clipped; at least 1x1. Read-only."""
    x, y = margin * box.width, margin * box.height
    wide = Box.clipped(box.x1 - x, box.y1 - y, box.x2 + x, box.y2 + y)
    x1, y1, x2, y2 = wide.to_pixels(frame.width, frame.height)
    x1, y1 = min(x1, frame.width - 1), min(y1, frame.height - 1)
    return frame.to_bgr()[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]


def _resized(picture: Pixels, scale: float) -> Pixels:
    height, width = picture.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size == (width, height):
        return picture
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _jpeg(picture: Pixels, quality: int) -> bytes:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()
