"""The picture worker's work: decode, draw, scale, encode; a bad order is an answer."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from gateway.engine.picture import DRAWN
from gateway.engine.pictures import render
from gateway.frame import decode
from gateway.jpeg import read_header
from tests.doubles import jpeg

SEEN = {"objects": {"detections": [{"label": "person", "score": 0.9, "box": [0.25, 0.25, 0.75, 0.75], "track_id": 1}]}}


def redraw(width: int | None = None, **order: Any) -> dict[str, Any]:
    return {"do": "redraw", "width": width, "quality": 90, **order}


def encoded(kind: str, width: int = 40, height: int = 30) -> bytes:
    done, data = cv2.imencode(kind, np.full((height, width, 3), 200, np.uint8))
    assert done
    return data.tobytes()


def test_a_picture_is_scaled_to_the_width_and_keeps_its_ratio() -> None:
    answer, data = render(redraw(320), jpeg(640, 480))
    assert (answer, decode(data).shape) == ({}, (240, 320, 3))


def test_a_picture_is_never_enlarged() -> None:
    assert decode(render(redraw(1280), jpeg(640, 480))[1]).shape == (480, 640, 3)


def test_boxes_are_drawn_where_they_are() -> None:
    plain = decode(render(redraw(), jpeg(400, 400))[1]).astype(int)
    drawn = decode(render(redraw(overlay=SEEN), jpeg(400, 400))[1]).astype(int)
    changed = np.abs(drawn - plain).max(axis=-1) > 40
    assert changed[100, 150:250].all()  # the upper edge, or the label on it
    assert changed[150:250, 100].all()
    assert not changed[120:280, 120:280].any()
    assert not changed[320:].any()


def test_what_two_analyzers_tell_of_is_drawn_once_with_its_number() -> None:
    box = [0.2, 0.4, 0.6, 0.8]
    bare, numbered = ({"label": "person", "score": 0.9, "box": box, "track_id": id_} for id_ in (None, 7))
    one = render(redraw(overlay={"tracks": {"detections": [numbered]}}), jpeg(400, 400))
    both = render(
        redraw(overlay={"objects": {"detections": [bare]}, "tracks": {"detections": [numbered]}}), jpeg(400, 400)
    )
    assert one == both


ZONES = {
    DRAWN: {
        "detections": [],
        "shapes": [
            {"name": "hall", "kind": "area", "points": [[0.2, 0.4], [0.6, 0.4], [0.6, 0.8], [0.2, 0.8]]},
            {"name": "gate", "kind": "line", "points": [[0.8, 0.1], [0.8, 0.9]]},
        ],
    },
    "zones": {"detections": [], "measures": {"hall.count": 3, "gate.left_to_right": 1, "gate.right_to_left": 2}},
}


@pytest.mark.parametrize("mirror", [False, True])
def test_zones_are_outlined_where_they_are_if_asked_for(mirror: bool) -> None:
    order = {"mirror": True} if mirror else {}
    plain = decode(render(redraw(**order), jpeg(400, 400))[1]).astype(int)
    drawn = decode(render(redraw(overlay=ZONES, zones=True, **order), jpeg(400, 400))[1]).astype(int)
    changed = np.abs(drawn - plain).max(axis=-1) > 40
    if mirror:
        changed = changed[:, ::-1]
    edges = [changed[240, 80], changed[240, 239], changed[319, 160], changed[200, 319]]
    assert (all(edges), changed[240, 160], changed[380, 319]) == (True, False, False)
    unasked = decode(render(redraw(overlay=ZONES, zones=False, **order), jpeg(400, 400))[1])
    assert (unasked == plain).all()


def test_zones_alone_are_drawn_without_boxes_and_with_their_counts() -> None:
    def picture(**order: Any) -> bytes:
        return render(redraw(zones=True, **order), jpeg(400, 400))[1]

    assert picture(overlay={**ZONES, **SEEN}, boxes=False) == picture(overlay=ZONES, boxes=False)
    assert picture(overlay=ZONES) != picture(overlay={DRAWN: ZONES[DRAWN]})


@pytest.mark.parametrize("box", [[0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]])
def test_a_box_at_the_border_can_be_drawn(box: list[float]) -> None:
    seen = {"a": {"detections": [{"label": "ü" * 64, "score": 0.5, "box": box}]}}
    assert render(redraw(overlay=seen), jpeg(17, 9))[0] == {}


@pytest.mark.parametrize("orientation", [1, 6])
def test_what_goes_out_is_upright_baseline_420(orientation: int) -> None:
    header = read_header(render(redraw(), jpeg(64, 48))[1])
    assert (header.width, header.height, header.orientation, header.metadata) == (64, 48, 1, ())


@pytest.mark.parametrize("kind", [".png", ".webp"])
def test_png_and_webp_become_jpeg(kind: str) -> None:
    answer, data = render({"do": "transcode", "quality": 90, "max_pixels": 10_000}, encoded(kind))
    assert (answer, decode(data).shape) == ({}, (30, 40, 3))


@pytest.mark.parametrize("kind", [".png", ".webp"])
def test_a_size_beyond_the_limit_is_refused_by_its_claim(kind: str) -> None:
    answer, data = render({"do": "transcode", "quality": 90, "max_pixels": 1199}, encoded(kind)[:40])
    assert (answer["code"], data) == ("image_too_large", b"")
    assert answer["error"] == "the picture claims 40x30 px, more than the limit of 1199 px"


@pytest.mark.parametrize(
    ("order", "payload", "code"),
    [
        (redraw(), b"no picture", "undecodable"),
        (redraw(), b"", "undecodable"),
        ({"do": "transcode", "quality": 90, "max_pixels": 99}, b"GIF89a", "undecodable"),
        ({"do": "transcode", "quality": 90, "max_pixels": 9999}, encoded(".png")[:60], "undecodable"),
        ({"do": "dance", "quality": 90}, b"", "undecodable"),
    ],
)
def test_a_bad_order_is_answered(order: dict[str, Any], payload: bytes, code: str) -> None:
    answer, data = render(order, payload)
    assert (answer["code"], data) == (code, b"")


@pytest.mark.parametrize("size", [(640, 360), (16, 16), (1, 1)])
def test_a_slate_has_the_streams_size_and_light_words(size: tuple[int, int]) -> None:
    order = {
        "do": "slate",
        "lines": ["Tür", "no frames are coming in"],
        "width": size[0],
        "height": size[1],
        "quality": 80,
    }
    answer, data = render(order, b"")
    slate = decode(data)
    assert (answer, slate.shape) == ({}, (size[1], size[0], 3))
    assert size[0] < 640 or slate.max() > 200


def test_a_mirrored_picture_has_its_boxes_mirrored_too() -> None:
    plain = decode(render(redraw(mirror=True), jpeg(400, 400))[1]).astype(int)
    drawn = decode(render(redraw(mirror=True, overlay=SEEN), jpeg(400, 400))[1]).astype(int)
    changed = np.abs(drawn - plain).max(axis=-1) > 40
    assert changed[150:250, 299].all()  # what was the left edge
    assert not changed[120:280, 120:280].any()


def test_no_pixel_of_one_camera_shows_in_the_damaged_picture_of_another() -> None:
    """Some decoders fill what is missing with whatever their buffer held before."""
    noise = np.random.default_rng(1).integers(0, 80, (240, 320, 3), np.uint8)
    damaged = cv2.imencode(".jpg", noise)[1].tobytes()
    canary = np.zeros((240, 320, 3), np.uint8)
    canary[:] = (0, 0, 255)
    red = cv2.imencode(".jpg", canary)[1].tobytes()
    for part in (4, 2):
        assert decode(render(redraw(), red)[1])[120, 160, 2] > 200
        answer, seen = render(redraw(), damaged[: len(damaged) // part] + b"\xff\xd9")
        if not answer:
            pixels = decode(seen).astype(int)
            assert not ((pixels[..., 2] > 180) & (pixels[..., 1] < 80)).any()
