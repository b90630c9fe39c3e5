"""The picture worker's work: decode, draw boxes, scale, encode. Runs in its own process, never in the gateway's."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from gateway.engine.picture import DRAWN
from gateway.engine.wire import Header
from gateway.errors import BadImage, GatewayError, ImageTooLarge
from gateway.frame import decode

if TYPE_CHECKING:
    from gateway.frame import Pixels

FONT = cv2.FONT_HERSHEY_SIMPLEX


def render(order: Header, payload: bytes) -> tuple[Header, bytes]:
    """Do one order; the answer is a JPEG, or an error in the header."""
    try:
        match order["do"]:
            case "redraw":
                picture = _redraw(order, payload)
            case "transcode":
                picture = _bounded(payload, order["max_pixels"])
            case "slate":
                picture = _slate(order["lines"], order["width"], order["height"])
            case other:
                raise BadImage(f"no such order: {other}")
        return {}, _encode(picture, order["quality"])
    except GatewayError as error:
        return {"error": error.detail, "code": error.code}, b""
    except (cv2.error, MemoryError) as error:
        return {"error": f"the picture cannot be processed: {type(error).__name__}", "code": "undecodable"}, b""


def _encode(picture: Pixels, quality: int) -> bytes:
    """Baseline, 4:2:0: what every reader of motion JPEG understands."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    done, jpeg = cv2.imencode(".jpg", picture, flags)
    if not done:
        raise BadImage("the picture does not encode")
    return jpeg.tobytes()


def _bounded(payload: bytes, max_pixels: int) -> Pixels:
    """Decode a PNG or WebP whose header claims no more than `max_pixels`."""
    size = claimed_size(payload)
    if size is None:
        raise BadImage("expected a PNG or WebP picture")
    if size[0] * size[1] > max_pixels:
        raise ImageTooLarge(f"the picture claims {size[0]}x{size[1]} px, more than the limit of {max_pixels} px")
    return decode(payload)


def claimed_size(data: bytes) -> tuple[int, int] | None:
    """Width and height from the header of a PNG (ISO 15948, IHDR) or WebP (RFC 9649), without decoding."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR":
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    match data[12:16]:
        case b"VP8X":
            return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return None


def _redraw(order: Header, payload: bytes) -> Pixels:
    picture = decode(payload)
    width = order["width"]
    if width is not None and width < picture.shape[1]:
        height = max(1, round(picture.shape[0] * width / picture.shape[1]))
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    mirrored = "mirror" in order
    if mirrored:
        picture = np.ascontiguousarray(picture[:, ::-1])
    overlay = order.get("overlay", {})
    if order.get("zones"):
        for text, points, closed in _shapes(overlay):
            _outline(picture, [[1 - x if mirrored else x, y] for x, y in points], text, closed=closed)
    for label, detection in _labelled(overlay if order.get("boxes", True) else {}):
        left, top, right, bottom = detection["box"]
        box = [1 - right, top, 1 - left, bottom] if mirrored else [left, top, right, bottom]
        _box(picture, box, label, _colour(detection["label"]))
    return picture


def _labelled(overlay: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each detection once: analyzers may tell of the same one, with the track's number and without."""
    found = [detection for result in overlay.values() for detection in result["detections"]]
    told: set[tuple[Any, ...]] = set()
    for detection in sorted(found, key=lambda one: one.get("track_id") is None):
        if (same := (detection["label"], *detection["box"])) in told:
            continue
        told.add(same)
        name = detection["label"]
        if (track := detection.get("track_id")) is not None:
            name += f" {track}"
        yield f"{name} {detection['score']:.2f}", detection


def _shapes(overlay: Mapping[str, Any]) -> Iterator[tuple[str, list[list[float]], bool]]:
    """The zones and lines drawn into the picture: a name with its count, the points, and whether it is an area."""
    counts = overlay.get("zones", {}).get("measures", {})
    for shape in overlay.get(DRAWN, {}).get("shapes", []):
        name, area = shape["name"], shape["kind"] == "area"
        keys = ("count",) if area else ("left_to_right", "right_to_left")
        told = [f"{counts[f'{name}.{key}']:.0f}" for key in keys if f"{name}.{key}" in counts]
        yield f"{name} {' | '.join(told)}".strip(), shape["points"], area


def _outline(picture: Pixels, points: list[list[float]], text: str, *, closed: bool) -> None:
    """White on a dark rim, to be seen on any ground; the name stands at the first point."""
    height, width = picture.shape[:2]
    line = max(1, round(max(height, width) / 400))
    corners = np.round(np.array(points) * [width - 1, height - 1]).astype(np.int32)
    for colour, thickness in ((20, 3 * line), (255, line)):
        cv2.polylines(picture, [corners], closed, (colour,) * 3, thickness, cv2.LINE_AA)
    scale = max(0.4, max(height, width) / 1600)
    (wide, high), _ = cv2.getTextSize(text, FONT, scale, line)
    left, base = min(int(corners[0][0]), max(0, width - wide - 2)), max(int(corners[0][1]), high + 4)
    cv2.rectangle(picture, (left, base - high - 4), (left + wide + 2, base + 2), (255, 255, 255), cv2.FILLED)
    cv2.putText(picture, text, (left + 1, base - 1), FONT, scale, (0, 0, 0), line, cv2.LINE_AA)


def _colour(label: str) -> tuple[int, int, int]:
    """A bright BGR colour that stays the same for a label, here and in every process."""
    hue = zlib.crc32(label.encode()) % 180
    blue, green, red = cv2.cvtColor(np.array([[[hue, 200, 255]]], np.uint8), cv2.COLOR_HSV2BGR)[0, 0]
    return int(blue), int(green), int(red)


def _box(picture: Pixels, box: list[float], text: str, colour: tuple[int, int, int]) -> None:
    height, width = picture.shape[:2]
    line = max(1, round(max(height, width) / 400))
    left, top = round(box[0] * (width - 1)), round(box[1] * (height - 1))
    right, bottom = round(box[2] * (width - 1)), round(box[3] * (height - 1))
    cv2.rectangle(picture, (left, top), (right, bottom), colour, line, cv2.LINE_AA)
    scale = max(0.4, max(height, width) / 1600)
    (wide, high), below = cv2.getTextSize(text, FONT, scale, line)
    base = max(top - below, high + 2)
    cv2.rectangle(picture, (left, base - high - 2), (left + wide + 2, base + below), colour, cv2.FILLED)
    cv2.putText(picture, text, (left + 1, base), FONT, scale, (0, 0, 0), line, cv2.LINE_AA)


def _slate(lines: list[str], width: int, height: int) -> Pixels:
    """Light words on dark grey, centred, as large as fits."""
    picture: Pixels = np.full((height, width, 3), 40, np.uint8)
    step = height // (len(lines) + 1)
    for index, text in enumerate(lines):
        printable = text.encode("ascii", "replace").decode()
        (wide, high), _ = cv2.getTextSize(printable, FONT, 1.0, 2)
        scale = min(0.9 * width / max(1, wide), height / 12 / max(1, high))
        (wide, high), _ = cv2.getTextSize(printable, FONT, scale, max(1, round(2 * scale)))
        place = ((width - wide) // 2, step * (index + 1) + high // 2)
        cv2.putText(picture, printable, place, FONT, scale, (220, 220, 220), max(1, round(2 * scale)), cv2.LINE_AA)
    return picture
