"""The pictures that are sent: one of a given size on disk, made on the spot, and those of a clip."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 640, 480
BYTES = 60_000  # what a camera sends at this size and quality 85 or so
CLIP = "people_vtest_30s.mp4"  # 480x360, people walking


def jpeg(size: int = BYTES) -> bytes:
    """A street of boxes, with as much noise as makes it `size` bytes, within a few percent."""
    low, high = 0.0, 80.0
    for _ in range(12):
        noise = (low + high) / 2
        made = _encoded(_street(noise))
        low, high = (noise, high) if len(made) < size else (low, noise)
    return made


def clip(most: int) -> list[bytes]:
    """Up to `most` frames of a clip under FRAMEGATE_MEDIA_DIR as JPEG, every third; drawn ones if there is none."""
    frames = cv2.VideoCapture(str(Path(os.environ.get("FRAMEGATE_MEDIA_DIR", "")) / "clips" / CLIP))
    made: list[bytes] = []
    while len(made) < most and frames.grab():
        _, picture = frames.retrieve()
        made.append(_encoded(picture))
        frames.grab()
        frames.grab()
    return made or [_encoded(_street(noise)) for noise in range(8)]


def _street(noise: float) -> cv2.typing.MatLike:
    picture = np.full((HEIGHT, WIDTH, 3), (140, 150, 145), np.uint8)
    for index in range(12):
        left, top = 50 * index + 10, 300 - 17 * (index % 5)
        colour = (37 * index % 256, 91 * index % 256, 180)
        cv2.rectangle(picture, (left, top), (left + 30, top + 110), colour, cv2.FILLED)
        cv2.circle(picture, (left + 15, top - 15), 14, (120, 160, 200), cv2.FILLED)
    grain = np.random.default_rng(0).normal(0, noise, picture.shape)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def _encoded(picture: cv2.typing.MatLike) -> bytes:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return data.tobytes()
