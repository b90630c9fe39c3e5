"""What a source gives and a publisher takes: JPEG bytes, or pixels that become JPEG on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from framegate_client.errors import BadImage

QUALITY = 85  # of 100; pixels that become JPEG here
JPEG = b"\xff\xd8"
_MEDIA_TYPES = {JPEG: "image/jpeg", b"\x89P": "image/png", b"RI": "image/webp"}

Captured = datetime | Literal["now"] | None


class Pixels(Protocol):
    """A NumPy array: (height, width, 3) BGR or (height, width) grey, uint8, as OpenCV has it."""

    @property
    def shape(self) -> tuple[int, ...]: ...


WHOLE = (bytes, bytearray, memoryview)
Image = bytes | bytearray | memoryview | Pixels


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with what is known of it. `captured_at`: "now" is when it is sent, None is unknown."""

    image: Image
    captured_at: Captured = "now"
    meta: Mapping[str, Any] | None = None


def jpeg_of(image: Image) -> bytes:
    """JPEG as it is; pixels encoded, which takes milliseconds and OpenCV. Raises `BadImage`."""
    if isinstance(image, WHOLE):
        if bytes(image[:2]) != JPEG:
            raise BadImage(f"expected a JPEG or a NumPy array, got bytes that begin with {bytes(image[:2]).hex()!r}")
        return bytes(image)
    return encoded(image)


def encoded(pixels: Any, quality: int = QUALITY) -> bytes:
    """Needs the extra `framegate-client[opencv]`. Raises `BadImage`."""
    import cv2

    try:
        done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error as error:
        raise BadImage(f"expected (height, width, 3) uint8, got {pixels.shape}: {error.err}") from None
    if not done:
        raise BadImage(f"expected (height, width, 3) uint8, got {pixels.shape}")
    return bytes(data)


def media_type(image: bytes) -> str:
    """Of a picture to be posted; the gateway itself looks at the bytes."""
    return _MEDIA_TYPES.get(image[:2], "application/octet-stream")
