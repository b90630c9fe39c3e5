"""The JPEGs in the MJPEG: what is taken out of pushed ones and put in, and how redrawn ones are coded."""

from __future__ import annotations

from struct import pack

import cv2
import numpy as np
import pytest

from tests.pictures import COLOURS, colour_at, colour_of, picture, pixels
from tests.server import Server
from tests.sockets import shown, socket_to
from tests.wire import mjpeg

pytestmark = pytest.mark.e2e


def _with_exif_thumbnail(jpeg: bytes) -> bytes:
    """An APP1 segment with a small JPEG of its own, as cameras and phones write it (EXIF 2.3, section 4.6)."""
    exif = b"Exif\0\0MM\0\x2a" + pack(">IHI", 8, 0, 0) + picture("black", (16, 16))
    return jpeg[:2] + b"\xff\xe1" + pack(">H", len(exif) + 2) + exif + jpeg[2:]


def test_an_exif_thumbnail_is_cut_out_so_that_the_first_end_marker_is_the_real_one(server: Server) -> None:
    stream_id = server.open()
    sent = _with_exif_thumbnail(picture("red"))
    assert sent.count(b"\xff\xd9") == 2
    server.push(stream_id, sent)
    with mjpeg(server, stream_id) as answer:
        answer.take(9)
        body = answer.part().body
    assert body == picture("red")
    assert body.index(b"\xff\xd9") == len(body) - 2


def _without_huffman_tables(jpeg: bytes) -> bytes:
    out, position = jpeg[:2], 2
    while jpeg[position + 1] != 0xDA:
        length = int.from_bytes(jpeg[position + 2 : position + 4], "big") + 2
        if jpeg[position + 1] != 0xC4:
            out += jpeg[position : position + length]
        position += length
    return out + jpeg[position:]


def test_a_frame_that_left_its_huffman_tables_out_gets_the_standard_ones(server: Server) -> None:
    stream_id = server.open()
    bare = _without_huffman_tables(picture("blue"))
    assert b"\xff\xc4" not in bare
    server.push(stream_id, bare)
    with mjpeg(server, stream_id) as answer:
        answer.take(9)
        body = answer.part().body
    assert body.count(b"\xff\xc4") >= 1
    assert colour_of(body) == "blue"


def test_a_redrawn_picture_is_baseline_4_2_0_with_tables(server: Server) -> None:
    stream_id = server.open()
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    progressive = cv2.imencode(".jpg", np.full((480, 640, 3), COLOURS["yellow"], np.uint8), flags)[1].tobytes()
    assert _frame_header(progressive)[0] == 0xC2
    server.push(stream_id, progressive)
    with mjpeg(server, stream_id, "?width=320") as answer:
        answer.take(9)
        body = answer.part().body
    assert _frame_header(body) == (0xC0, [0x22, 0x11, 0x11])
    assert (b"\xff\xc4" in body, colour_of(body)) == (True, "yellow")


def _frame_header(jpeg: bytes) -> tuple[int, list[int]]:
    """The start-of-frame marker and each component's sampling factors (ITU-T T.81 B.2.2)."""
    position = 2
    while jpeg[position + 1] not in (0xC0, 0xC1, 0xC2):
        position += 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
    components = jpeg[position + 9]
    return jpeg[position + 1], [jpeg[position + 11 + 3 * index] for index in range(components)]


def test_a_turned_picture_is_shown_upright_to_readers_that_pass_over_its_orientation(server: Server) -> None:
    stream_id = server.open()
    scene = np.zeros((120, 160, 3), np.uint8)
    scene[:, :80] = COLOURS["red"]
    scene[:, 80:] = COLOURS["blue"]
    stored = cv2.imencode(".jpg", scene)[1].tobytes()
    tiff = b"MM\0\x2a" + pack(">IH", 8, 1) + pack(">HHIHH", 0x0112, 3, 1, 6, 0) + bytes(4)  # turn by 90° to the right
    exif = b"Exif\0\0" + tiff
    turned = stored[:2] + b"\xff\xe1" + pack(">H", len(exif) + 2) + exif + stored[2:]
    server.push(stream_id, turned)
    with mjpeg(server, stream_id) as answer, socket_to(server, stream_id, "?frames=binary") as viewer:
        answer.take(9)
        body = answer.part().body
        assert shown(viewer).jpeg == turned  # our clients heed it, and nothing need be made
    upright = pixels(body)
    assert (upright.shape, b"Exif" in body) == ((160, 120, 3), False)
    assert server.http.get(f"/stream/{stream_id}/snapshot.jpg").content == body
    assert [colour_at(upright[y, 60].astype(float).tolist()) for y in (20, 140)] == ["red", "blue"]
    assert (server.show(stream_id)["width"], server.show(stream_id)["height"]) == (120, 160)


def test_a_mirrored_form_is_mirrored(server: Server) -> None:
    stream_id = server.open()
    scene = np.zeros((120, 160, 3), np.uint8)
    scene[:, :80] = COLOURS["red"]
    scene[:, 80:] = COLOURS["blue"]
    server.push(stream_id, cv2.imencode(".jpg", scene)[1].tobytes())
    with mjpeg(server, stream_id, "?mirror=1") as answer:
        answer.take(9)
        seen = pixels(answer.part().body)
    assert [colour_at(seen[60, x].astype(float).tolist()) for x in (20, 140)] == ["blue", "red"]


def test_dual_shows_each_picture_twice(server: Server) -> None:
    stream_id = server.open()
    server.push(stream_id, picture("red"))
    with mjpeg(server, stream_id, "?dual=1") as answer:
        answer.take(9)
        first, second = answer.part(), answer.part()
    assert first.body == second.body == picture("red")
    assert first["X-Frame-Seq"] == second["X-Frame-Seq"] == "0"
