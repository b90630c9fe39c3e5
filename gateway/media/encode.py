"""Encode: a decoded frame as JPEG, no larger than wanted, turned as the file says."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from gateway.engine.pictures import claimed_size
from gateway.errors import GatewayError
from gateway.jpeg import read_header
from gateway.media.errors import SourceError


def jpeg_of(frame: Any, side: int, quality: int) -> tuple[bytes, int, int]:
    """A frame's JPEG, width and height; its longer side at most `side` px. swscale scales and converts in one go."""
    width, height = fitted(frame.width, frame.height, side)
    picture = frame.to_ndarray(format="bgr24", width=width, height=height)
    if turns := round(getattr(frame, "rotation", 0) / 90) % 4:
        picture = np.ascontiguousarray(np.rot90(picture, turns))
    return encoded(picture, quality), picture.shape[1], picture.shape[0]


def fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """A size in the same proportions, even as 4:2:0 likes it, if the longer side exceeds `side`."""
    if max(width, height) <= side:
        return width, height
    scale = side / max(width, height)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def encoded(picture: Any, quality: int) -> bytes:
    """Baseline 4:2:0, which every reader of motion JPEG takes."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    done, jpeg = cv2.imencode(".jpg", picture, flags)
    if not done:
        raise SourceError("codec", "a picture does not encode")
    return jpeg.tobytes()


def check_size(image: bytes, max_pixels: int) -> None:
    """Believe a picture's header before a decoder does. Raises `SourceError`."""
    if image[:2] == b"\xff\xd8":
        try:
            read_header(image, max_pixels=max_pixels)
        except GatewayError as error:
            raise SourceError("codec", f"the source's picture cannot be read: {error}") from None
        return
    size = claimed_size(image)
    if size is None:
        raise SourceError("codec", "what came is no JPEG, PNG or WebP picture")
    if size[0] * size[1] > max_pixels:
        raise SourceError("codec", f"its pictures are {size[0]}x{size[1]} px, more than limits.max_pixels")


def transcoded(image: bytes, side: int, quality: int, max_pixels: int) -> tuple[bytes, int, int]:
    """A JPEG, PNG or WebP as a JPEG of such a size. Raises `SourceError`."""
    check_size(image, max_pixels)
    try:
        picture = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        picture = None
    if picture is None:
        raise SourceError("codec", "what came is no picture")
    picture = resized(picture, side)
    return encoded(picture, quality), picture.shape[1], picture.shape[0]


def resized(picture: Any, side: int) -> Any:
    """Pixels whose longer side is at most `side` px."""
    size = fitted(picture.shape[1], picture.shape[0], side)
    if size == (picture.shape[1], picture.shape[0]):
        return picture
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
