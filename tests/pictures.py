"""Plain pictures of a known colour in every format, to be recognised at the other end."""

from __future__ import annotations

import base64
from functools import cache

import cv2
import numpy as np

COLOURS = {  # BGR
    "red": (0, 0, 255),
    "green": (0, 255, 0),
    "blue": (255, 0, 0),
    "yellow": (0, 255, 255),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
}


@cache
def picture(colour: str, size: tuple[int, int] = (160, 120), kind: str = "jpg") -> bytes:
    """A picture of one colour, (width, height) px."""
    done, data = cv2.imencode(f".{kind}", np.full((size[1], size[0], 3), COLOURS[colour], np.uint8))
    assert done
    return data.tobytes()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def data_url(data: bytes, kind: str = "jpeg") -> str:
    return f"data:image/{kind};base64,{base64_of(data)}"


def pixels(image: bytes) -> np.ndarray:
    decoded = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None, f"{len(image)} bytes that do not decode"
    return decoded


def colour_of(image: bytes) -> str:
    """The colour of a picture that has one; fails for any other."""
    return colour_at(pixels(image).reshape(-1, 3).mean(axis=0).tolist())


def colour_at(bgr: list[float]) -> str:
    near = [name for name, known in COLOURS.items() if max(abs(a - b) for a, b in zip(bgr, known, strict=True)) < 24]
    assert near, f"no known colour: BGR {bgr}"
    return near[0]
