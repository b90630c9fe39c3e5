"""MP4s of pictures and of packets, judged by what a decoder makes of them."""

from __future__ import annotations

import io
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import numpy as np
import pytest

from gateway.jpeg import read_header
from gateway.media.film import make
from tests.pictures import colour_at, picture, pixels

Coded = tuple[bytes, float, float, bool]


def encoded(jpegs: list[bytes], times: list[float], **more: Any) -> tuple[dict[str, Any], bytes]:
    order = {"do": "encode", "sizes": [len(jpeg) for jpeg in jpegs], "times": times, "fps": 5.0, "side": 1280, **more}
    return make(order, b"".join(jpegs))


def remuxed(packets: list[Coded]) -> tuple[dict[str, Any], bytes]:
    stamps = [[len(data), at, later, key] for data, at, later, key in packets]
    return make({"do": "remux", "packets": stamps}, b"".join(packet[0] for packet in packets))


def decoded(mp4: bytes) -> list[tuple[float, str, tuple[int, int]]]:
    """Time, colour in the middle and size of every picture."""
    with av.open(io.BytesIO(mp4), "r") as container:
        found = []
        for frame in container.decode(video=0):
            pixels = frame.to_ndarray(format="bgr24")
            middle = colour_at(pixels[pixels.shape[0] // 2, pixels.shape[1] // 2].tolist())
            found.append((round(float(frame.time or 0), 2), middle, (frame.width, frame.height)))
        return found


def coded(*colours: str, size: tuple[int, int] = (320, 240), start: float = 0.0, bf: int = 0) -> list[Coded]:
    """A second of H.264 (annex B) of each colour at 10 fps, each beginning with a keyframe."""
    with av.open(io.BytesIO(), "w", format="h264") as out:
        stream = out.add_stream("libx264", rate=10, options={"g": "10", "bf": str(bf), "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        packets = []
        for colour in colours:
            shown = np.asarray(pixels(picture(colour, size)), np.uint8)
            for _ in range(10):
                packets += stream.encode(av.VideoFrame.from_ndarray(shown, format="bgr24"))
        packets += stream.encode(None)
        first = packets[0].dts or 0
        step = Fraction(1, 10)
        return [
            (
                bytes(one),
                start + float(((one.dts or 0) - first) * step),
                float(((one.pts or 0) - (one.dts or 0)) * step),
                bool(one.is_keyframe),
            )
            for one in packets
        ]


def test_pictures_come_at_their_own_times_in_their_order() -> None:
    colours, times = ["red", "green", "blue", "white"], [100.0, 100.2, 100.9, 101.0]
    told, mp4 = encoded([picture(colour, (320, 240)) for colour in colours], times)
    assert told == {"pictures": 4, "skipped": 0, "width": 320, "height": 240, "duration_s": 1.0}
    assert decoded(mp4) == [(at, colour, (320, 240)) for at, colour in zip([0.0, 0.2, 0.9, 1.0], colours, strict=True)]


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((161, 121), 1280, (160, 120)),
        ((1920, 1080), 640, (640, 360)),
        ((50, 2000), 500, (12, 500)),
        ((3, 3), 64, (2, 2)),
    ],
)
def test_a_clip_has_an_even_size_no_larger_than_wished(
    size: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    _, mp4 = encoded([picture("red", size)] * 2, [0.0, 0.2], side=side)
    assert {shown[2] for shown in decoded(mp4)} == {expected}


def test_a_picture_of_another_size_is_fitted_in_and_one_that_does_not_decode_is_left_out() -> None:
    jpegs = [
        picture("red", (320, 240)),
        picture("green", (240, 320)),
        b"\xff\xd8 no picture",
        picture("blue", (64, 64)),
    ]
    told, mp4 = encoded(jpegs, [0.0, 0.2, 0.4, 0.6])
    assert (told["pictures"], told["skipped"]) == (3, 1)
    assert [(colour, size) for _, colour, size in decoded(mp4)] == [(c, (320, 240)) for c in ("red", "green", "blue")]


def test_a_picture_that_lies_on_its_side_is_upright() -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    jpeg = picture("red", (320, 240))
    turned = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    assert (read_header(turned).width, read_header(turned).height) == (240, 320)
    _, mp4 = encoded([turned], [0.0])
    assert decoded(mp4) == [(0.0, "red", (240, 320))]


@pytest.mark.parametrize("bf", [0, 2])
def test_packets_are_taken_as_they_are(bf: int) -> None:
    packets = coded("red", "green", bf=bf)
    told, mp4 = remuxed(packets)
    assert (told["pictures"], told["skipped"], told["width"], told["height"]) == (20, 0, 320, 240)
    shown = decoded(mp4)
    assert [colour for _, colour, _ in shown] == ["red"] * 10 + ["green"] * 10
    steps = {round(after[0] - before[0], 1) for before, after in pairwise(shown)}
    assert steps == {0.1}


def test_a_clip_of_packets_begins_with_a_keyframe() -> None:
    told, mp4 = remuxed(coded("red", "green")[5:])
    assert (told["pictures"], told["skipped"]) == (10, 5)
    assert {colour for _, colour, _ in decoded(mp4)} == {"green"}


def test_of_two_sizes_the_longer_stretch_is_shown() -> None:
    told, mp4 = remuxed(coded("red") + coded("green", "blue", size=(640, 480), start=1.0))
    assert (told["width"], told["height"], told["pictures"]) == (640, 480, 20)
    assert [colour for _, colour, _ in decoded(mp4)] == ["green"] * 10 + ["blue"] * 10


def test_times_that_stand_still_or_go_back_a_little_are_put_in_order() -> None:
    packets = [(data, 7.0, later, key) for data, _, later, key in coded("red")]
    _, mp4 = remuxed(packets)
    with av.open(io.BytesIO(mp4), "r") as container:
        moments = [packet.dts or 0 for packet in container.demux(video=0) if packet.size]
    assert (len(moments), moments) == (10, sorted(set(moments)))


@pytest.mark.parametrize(
    "order",
    [
        {"do": "remux", "packets": [[4, 0.0, 0.0, False]]},
        {"do": "remux", "packets": [[4, 0.0, 0.0, True]]},
        {"do": "remux", "packets": []},
        {"do": "encode", "sizes": [4], "times": [0.0], "fps": 5.0, "side": 640},
        {"do": "encode", "sizes": [], "times": [], "fps": 5.0, "side": 640},
        {"do": "paint"},
    ],
)
def test_what_is_no_video_is_an_error_and_no_clip(order: dict[str, Any]) -> None:
    told, mp4 = make(order, b"\xff\xd8\xff\xd9")
    assert (set(told), mp4) == ({"error"}, b"")
