"""MJPEG byte by byte: each test pins one rule that some reader of research/features.md 5.4 insists on."""

from __future__ import annotations

import json
import re
import select
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import cv2
import numpy as np
import pytest

from tests.pictures import base64_of, colour_of, picture, pixels
from tests.server import Server, eventually, running
from tests.sockets import shown, socket_to
from tests.wire import Part, Reader, mjpeg

pytestmark = pytest.mark.e2e

CAPTURED = "2025-11-26T07:00:00.123Z"


def without_time(part: Part) -> list[tuple[str, str]]:
    return [(name, value) for name, value in part.headers if name != "X-Timestamp"]


# --- the answer ------------------------------------------------------------------------------------------------------


def test_the_header_names_the_boundary_without_dashes_and_forbids_keeping(server: Server) -> None:
    with mjpeg(server, server.open()) as answer:
        assert answer.status_line == "HTTP/1.1 200 OK"
        assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["connection"] == "close"
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "content-length" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


def test_http_1_1_is_chunked(server: Server) -> None:
    with mjpeg(server, server.open()) as answer:
        assert (answer.chunked, answer.take(9)) == (True, b"--frame\r\n")


def test_http_1_0_gets_the_raw_body(server: Server) -> None:
    stream_id = server.open()
    server.push(stream_id, picture("red"))
    with mjpeg(server, stream_id, version="1.0") as answer:
        assert answer.status_line == "HTTP/1.1 200 OK"
        assert "transfer-encoding" not in answer.headers
        assert answer.take(9) == b"--frame\r\n"
        assert answer.part().body == picture("red")
        server.http.delete(f"/stream/{stream_id}")
        assert answer.rest() == b""


def test_plain_answers_to_http_1_0_keep_their_length(server: Server) -> None:
    with Reader(server, "/health", version="1.0") as answer:
        assert (answer.headers["content-length"], answer.rest()) == ("33", b'{"status":"ok","database":"none"}')


# --- the body --------------------------------------------------------------------------------------------------------


def test_the_body_begins_with_a_boundary_line_before_there_is_a_frame(server: Server) -> None:
    with mjpeg(server, server.open()) as answer:
        assert answer.take(9) == b"--frame\r\n"


def test_a_part_is_headers_with_its_length_a_blank_line_the_jpeg_and_a_line_end(server: Server) -> None:
    stream_id = server.open()
    server.push(stream_id, picture("red"), ts=CAPTURED)
    with mjpeg(server, stream_id) as answer:
        body = answer.until(b"\r\n\r\n") + answer.take(len(picture("red")) + 11)
    stamp = re.search(rb"X-Timestamp: (\d{10}\.\d{6})\r\n", body)
    assert stamp is not None
    assert abs(float(stamp[1]) - time.time()) < 30
    assert body == (
        b"--frame\r\n"
        b"Content-Type: image/jpeg\r\n"
        b"Content-Length: %d\r\n"
        b"X-Timestamp: %b\r\n"
        b"X-Frame-Seq: 0\r\n"
        b"X-Stream-State: live\r\n"
        b"X-Capture-Time: 2025-11-26T07:00:00.123Z\r\n"
        b"\r\n"
        b"%b\r\n"
        b"--frame\r\n" % (len(picture("red")), stamp[1], picture("red"))
    )


def test_without_a_capture_time_there_is_no_header_for_it(server: Server) -> None:
    stream_id = server.open()
    server.push(stream_id, picture("red"))
    with mjpeg(server, stream_id) as answer:
        answer.take(9)
        part = answer.part()
    assert without_time(part) == [
        ("Content-Type", "image/jpeg"),
        ("Content-Length", str(len(picture("red")))),
        ("X-Frame-Seq", "0"),
        ("X-Stream-State", "live"),
    ]


def test_the_next_boundary_line_follows_at_once_and_nothing_of_the_next_part(server: Server) -> None:
    stream_id = server.open()
    server.push(stream_id, picture("red"))
    with mjpeg(server, stream_id) as answer:
        answer.take(9)
        assert answer.part().body == picture("red")  # it has read the boundary line that follows
        assert answer.pending() == b""


def test_every_frame_of_a_prompt_reader_comes_once_and_in_order(server: Server) -> None:
    stream_id = server.open()
    with mjpeg(server, stream_id) as answer, socket_to(server, stream_id) as camera:
        answer.take(9)
        eventually(lambda: server.show(stream_id)["viewers"] == 2)
        seen = []
        for colour in ("red", "green", "blue", "yellow"):
            camera.send(picture(colour))
            while (part := answer.part())["X-Stream-State"] == "waiting":
                pass
            seen.append((part["X-Frame-Seq"], colour_of(part.body)))
    assert seen == [("0", "red"), ("1", "green"), ("2", "blue"), ("3", "yellow")]


def test_the_last_frame_is_repeated_after_a_second_without_a_new_one(server: Server) -> None:
    stream_id = server.open()
    server.push(stream_id, picture("red"))
    with mjpeg(server, stream_id) as answer:
        answer.take(9)
        first, began = answer.part(), time.monotonic()
        again = answer.part()
        assert again == first
        assert 0.9 < time.monotonic() - began < 2.0


def test_the_end_of_the_stream_ends_the_body(server: Server) -> None:
    stream_id = server.open()
    server.push(stream_id, picture("red"))
    with mjpeg(server, stream_id) as answer:
        answer.take(9)
        answer.part()
        assert server.http.delete(f"/stream/{stream_id}").status_code == 204
        assert answer.rest() == b""


# --- when there is nothing to see ------------------------------------------------------------------------------------


def test_before_the_first_frame_there_is_a_slate_with_the_reason(server: Server) -> None:
    with mjpeg(server, server.open(name="gate")) as answer:
        answer.take(9)
        part = answer.part()
    assert part["X-Stream-State"] == "waiting"
    slate = pixels(part.body)
    assert slate.shape == (360, 640, 3)
    assert (slate.min() < 60, slate.max() > 200) == (True, True)  # light words on dark grey


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A gateway that calls a stream stale after 0.3 s."""
    with running(tmp_path_factory.mktemp("stale"), FRAMEGATE_STREAM__STALE_S="0.3") as found:
        yield found


@pytest.mark.slow
def test_a_stale_stream_shows_a_slate_of_its_own_size_about_once_a_second(impatient: Server) -> None:
    stream_id = impatient.open()
    impatient.push(stream_id, picture("red", (320, 200)))
    with mjpeg(impatient, stream_id) as answer:
        answer.take(9)
        assert colour_of(answer.part().body) == "red"
        first = answer.part()
        while first["X-Stream-State"] == "live":
            first = answer.part()
        began = time.monotonic()
        second = answer.part()
        assert 0.9 < time.monotonic() - began < 2.0
        assert (first["X-Stream-State"], second["X-Stream-State"]) == ("stale", "stale")
        assert pixels(first.body).shape == (200, 320, 3)
        impatient.push(stream_id, picture("green", (320, 200)))
        assert colour_of(answer.part().body) == "green"


# --- many and slow readers -------------------------------------------------------------------------------------------


def test_a_slow_reader_gets_the_newest_frame_and_slows_nobody(server: Server) -> None:
    stream_id = server.open(max_fps=60)
    noise = np.random.default_rng(1).integers(0, 255, (720, 1280, 3), np.uint8)
    large = cv2.imencode(".jpg", noise)[1].tobytes()
    with (
        mjpeg(server, stream_id, receive_buffer=65536) as slow,
        socket_to(server, stream_id, "?frames=binary", max_size=None) as prompt,
        socket_to(server, stream_id, subprotocols=["framegate.v1"]) as camera,
    ):
        slow.take(9)
        for seq in range(20):
            camera.send(large)
            assert shown(prompt).seq == seq
        eventually(lambda: server.show(stream_id)["dropped"]["viewers"].get("pictures", 0) >= 10)
        seen: list[int] = []
        while not seen or seen[-1] != 19:
            part = slow.part()
            if part["X-Stream-State"] != "waiting":
                assert part.body == large
                seen.append(int(part["X-Frame-Seq"]))
    assert seen == sorted(set(seen))
    assert len(seen) < 10


def test_a_form_is_made_once_per_frame_whatever_the_number_of_viewers(server: Server) -> None:
    stream_id = server.open()
    forms = ["?width=100", "?width=90", "?width=16", "?width=319", "?width=320"]  # all rounded up to 320
    server.push(stream_id, picture("red", (800, 600)))
    with ExitStack() as stack:
        answers = [stack.enter_context(mjpeg(server, stream_id, form)) for form in forms]
        for answer in answers:
            answer.take(9)
            assert colour_of(answer.part().body) == "red"
        before = server.metric("framegate_pictures_encoded_total")
        server.push(stream_id, picture("green", (800, 600)))
        with ThreadPoolExecutor(len(answers)) as together:
            parts = list(together.map(lambda answer: _part_of(answer, 1), answers))
        assert server.metric("framegate_pictures_encoded_total") - before == 1
    assert {(pixels(part.body).shape, colour_of(part.body)) for part in parts} == {((240, 320, 3), "green")}


def _part_of(answer: Reader, seq: int) -> Part:
    while (part := answer.part())["X-Frame-Seq"] != str(seq) or part["X-Stream-State"] != "live":
        pass
    return part


def test_raw_pictures_cost_no_encoding(server: Server) -> None:
    stream_id = server.open()
    before = server.metric("framegate_pictures_encoded_total")
    server.push(stream_id, picture("red"))
    with mjpeg(server, stream_id) as answer:
        answer.take(9)
        assert answer.part().body == picture("red")
    assert server.metric("framegate_pictures_encoded_total") == before


# --- what a viewer may wish for --------------------------------------------------------------------------------------


def test_fps_thins_the_pictures_of_that_viewer_only(server: Server) -> None:
    stream_id = server.open()
    server.push(stream_id, picture("red"))
    with mjpeg(server, stream_id, "?fps=2") as thinned, mjpeg(server, stream_id) as full:
        thinned.take(9)
        full.take(9)
        assert thinned.part()["X-Frame-Seq"] == "0"
        began = time.monotonic()
        full.part()
        for seq in range(1, 6):
            server.push(stream_id, picture("green"))
            assert full.part()["X-Frame-Seq"] == str(seq)
        newest = thinned.part()
        assert time.monotonic() - began > 0.4
        assert newest["X-Frame-Seq"] == "5"


def test_a_viewer_of_one_picture_a_minute_is_noticed_when_it_goes(server: Server) -> None:
    stream_id = server.open()
    server.push(stream_id, picture("red"))
    with mjpeg(server, stream_id, "?fps=0.01") as answer:
        answer.take(9)
        answer.part()
        assert server.show(stream_id)["viewers"] == 1
    eventually(lambda: server.show(stream_id)["viewers"] == 0, within_s=2)
    with mjpeg(server, stream_id, "?fps=0.01") as answer:
        answer.take(9)
        answer.part()
        server.http.delete(f"/stream/{stream_id}")
        assert answer.rest() == b""


def test_quality_makes_smaller_pictures(server: Server) -> None:
    stream_id = server.open()
    noise = np.random.default_rng(1).integers(0, 255, (240, 320, 3), np.uint8)
    server.push(stream_id, cv2.imencode(".jpg", noise)[1].tobytes())
    sizes = []
    for wish in ("?quality=10", "?quality=50", "?quality=90"):
        with mjpeg(server, stream_id, wish) as answer:
            answer.take(9)
            sizes.append(len(answer.part().body))
    assert sizes[0] * 2 < sizes[1] < sizes[2] / 2


def test_a_width_beyond_the_pictures_own_leaves_it_its_size(server: Server) -> None:
    stream_id = server.open()
    server.push(stream_id, picture("red"))
    with mjpeg(server, stream_id, "?width=1280") as answer:
        answer.take(9)
        assert pixels(answer.part().body).shape == (120, 160, 3)


def test_boxes_are_burned_into_the_very_frame_they_were_seen_in(server: Server) -> None:
    stream_id = server.open(analyzers=["motion"])
    eventually(lambda: server.show(stream_id)["analyzers"][0]["state"] == "ready")
    with mjpeg(server, stream_id, "?draw=boxes") as answer, socket_to(server, stream_id) as camera:
        answer.take(9)
        for step in range(12):  # a tenth of a second apart by the camera's own clock
            image = base64_of(_grey_scene_with_square_at(_place(step)))
            camera.send(json.dumps({"type": "frame", "image": image, "ts": 1_764_140_400_000 + 100 * step}))
            drawn = pixels(_part_of(answer, step).body)
    colourful = np.flatnonzero(np.ptp(drawn[120].astype(int), axis=1) > 80)  # the scene itself is grey
    assert abs(colourful.min() - _place(11)) < 12
    assert abs(colourful.max() - _place(11) - 50) < 12


def _place(step: int) -> int:
    return 20 + 18 * step


def _grey_scene_with_square_at(left: int) -> bytes:
    scene = np.full((240, 320, 3), 90, np.uint8)
    scene[80:160, left : left + 50] = 220
    return cv2.imencode(".jpg", scene, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


@pytest.mark.parametrize("wish", ["fps=0", "fps=-1", "fps=much", "width=2", "quality=100", "fps=1000"])
def test_a_wish_nobody_can_fulfil_is_a_problem_that_names_it(server: Server, wish: str) -> None:
    answer = server.http.get(f"/stream/video/{server.open()}?{wish}")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid")
    assert [item["field"] for item in problem["errors"]] == [f"query.{wish.partition('=')[0]}"]


def test_nothing_is_sent_to_who_has_nothing_new_for_less_than_a_second(server: Server) -> None:
    stream_id = server.open()
    server.push(stream_id, picture("red"))
    with mjpeg(server, stream_id) as answer:
        answer.take(9)
        answer.part()
        assert select.select([answer], [], [], 0.7)[0] == []
