"""Frames by plain HTTP: one image a request, or an endless multipart body, to a real server."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.pictures import base64_of, colour_of, data_url, picture
from tests.server import Server, eventually
from tests.sockets import pong, socket_to

pytestmark = pytest.mark.e2e

CAPTURED_MS = 1_764_140_400_123
CAPTURED = "2025-11-26T07:00:00.123Z"


def snapshot(server: Server, stream_id: str) -> str:
    return colour_of(server.http.get(f"/stream/{stream_id}/snapshot.jpg").content)


def refused(server: Server, stream_id: str, body: bytes, kind: str = "image/jpeg") -> tuple[int, str]:
    answer = server.http.post(f"/stream/{stream_id}/frame", content=body, headers={"Content-Type": kind})
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    return answer.status_code, problem["code"]


# --- one image a request ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("image/jpeg", picture("red")),
        ("image/png", picture("red", kind="png")),
        ("image/webp", picture("red", kind="webp")),
        ("application/octet-stream", picture("red")),
        ("application/x-www-form-urlencoded", picture("red")),  # what curl says unless told otherwise
        ("application/json", json.dumps({"image": data_url(picture("red"))}).encode()),
        ("application/json", json.dumps({"image": base64_of(picture("red"))}).encode()),
        ("application/json", json.dumps({"type": "frame", "image": base64_of(picture("red"))}).encode()),
        ("text/plain", data_url(picture("red")).encode()),
        ("text/plain", base64_of(picture("red")).encode()),
        ("application/octet-stream", data_url(picture("red", kind="png"), "png").encode()),
    ],
)
def test_an_image_is_taken_in_every_documented_form(server: Server, kind: str, body: bytes) -> None:
    stream_id = server.open()
    answer = server.http.post(f"/stream/{stream_id}/frame", content=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()) == (200, {"accepted": True, "seq": 0, "width": 160, "height": 120})
    assert snapshot(server, stream_id) == "red"


def test_curl_sends_a_file_as_it_is(server: Server, tmp_path: Any) -> None:
    file = tmp_path / "picture.jpg"
    file.write_bytes(picture("blue"))
    stream_id = server.open()
    url = f"{server.url}/stream/{stream_id}/frame"
    done = subprocess.run(["curl", "-sf", "--data-binary", f"@{file}", url], capture_output=True, check=True)
    assert json.loads(done.stdout)["accepted"] is True
    assert snapshot(server, stream_id) == "blue"


def test_wait_answers_with_what_every_analyzer_saw_in_that_frame(server: Server) -> None:
    stream_id = server.open(analyzers=["motion"])
    eventually(lambda: server.show(stream_id)["analyzers"][0]["state"] == "ready")
    answer = server.push(stream_id, picture("red"), wait=1, ts=CAPTURED_MS)
    motion = answer["analyzers"].pop("motion")
    assert (motion["state"], motion["detections"]) == ("ready", [])
    assert answer.pop("received_at").endswith("Z")
    assert answer.pop("clock_skew_s") < -5
    assert answer == {
        "type": "result",
        "schema": "1.0",
        "stream_id": stream_id,
        "camera_id": None,
        "seq": 0,
        "captured_at": CAPTURED,
        "width": 160,
        "height": 120,
        "analyzers": {},
        "dropped": {"ingest": {}, "analysis": {}, "viewers": {}},
    }


def test_wait_on_a_stream_without_analyzers_answers_at_once(server: Server) -> None:
    assert server.push(server.open(), picture("red"), wait=1)["analyzers"] == {}


def test_the_end_of_the_stream_ends_the_waiting(server: Server) -> None:
    stream_id = server.open(analyzers=["motion"], options={"motion": {"fps": 0.01}})
    server.push(stream_id, picture("red"), wait=1)
    assert server.push(stream_id, picture("red"), wait=1)["analyzers"]["motion"]["dropped"] == "paced"


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("image/jpeg", b"", (422, "undecodable")),
        ("image/jpeg", b"no picture at all", (422, "undecodable")),
        ("image/jpeg", picture("red")[:-40], (422, "truncated")),
        ("image/png", picture("red", kind="png")[:60], (422, "undecodable")),
        ("image/jpeg", picture("red").replace(b"\x00\x78\x00\xa0", b"\x7d\x00\x7d\x00", 1), (413, "image_too_large")),
        (
            "image/png",
            picture("red", kind="png").replace(b"\0\0\0\xa0\0\0\0\x78", b"\0\0\x7d\0\0\0\x7d\0", 1),
            (413, "image_too_large"),
        ),
        ("image/jpeg", bytes(2**21 + 1), (413, "body_too_large")),
        ("application/json", b"{", (400, "bad_json")),
        ("application/json", b"{}", (400, "bad_message")),
        ("application/json", b'{"image": 5}', (400, "bad_message")),
        ("text/plain", b"not base64!", (400, "bad_base64")),
    ],
)
def test_what_is_no_picture_is_a_problem_document(
    server: Server, kind: str, body: bytes, expected: tuple[int, str]
) -> None:
    assert refused(server, server.open(), body, kind) == expected


def test_a_bad_capture_time_is_a_problem_document(server: Server) -> None:
    answer = server.http.post(f"/stream/{server.open()}/frame", content=picture("red"), params={"ts": "yesterday"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_message")


def test_an_image_for_an_unknown_stream_is_404(server: Server) -> None:
    assert refused(server, "nobody", picture("red")) == (404, "not_found")


def test_an_image_is_409_while_a_socket_publishes(server: Server) -> None:
    stream_id = server.open()
    with socket_to(server, stream_id) as camera:
        camera.send(picture("red"))
        pong(camera)
        assert refused(server, stream_id, picture("blue")) == (409, "second_publisher")
    eventually(lambda: server.show(stream_id)["publishers"] == 0)
    assert server.push(stream_id, picture("blue"))["accepted"] is True


def test_faster_than_max_fps_is_202_and_says_so(server: Server) -> None:
    stream_id = server.open(max_fps=1)
    server.push(stream_id, picture("red"))
    answer = server.http.post(f"/stream/{stream_id}/frame", content=picture("red"))
    assert (answer.status_code, answer.json()) == (202, {"accepted": False, "reason": "max_fps", "max_fps": 1})


def test_a_stream_fed_by_posts_alone_lives_on(server: Server) -> None:
    stream_id = server.open(grace_s=0)
    server.push(stream_id, picture("red"))
    assert server.show(stream_id)["state"] == "live"


# --- an endless multipart body ---------------------------------------------------------------------------------------


def multipart(*images: bytes, boundary: bytes = b"frame") -> Iterator[bytes]:
    for image in images:
        yield b"--%b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % (boundary, len(image))
        yield image + b"\r\n"
    yield b"--%b--\r\n" % boundary


KIND = "multipart/x-mixed-replace;boundary=frame"


def post_frames(server: Server, stream_id: str, body: Any, kind: str = KIND) -> Any:
    return server.http.post(f"/stream/{stream_id}/frames", content=body, headers={"Content-Type": kind})


@pytest.mark.parametrize("boundary", ["frame", "--frame", '"frame"'])
def test_parts_become_frames_however_the_boundary_is_written(server: Server, boundary: str) -> None:
    stream_id = server.open()
    body = multipart(picture("red"), picture("green"), picture("blue"))
    answer = post_frames(server, stream_id, body, f"multipart/x-mixed-replace; boundary={boundary}")
    assert (answer.status_code, answer.json()) == (200, {"accepted": 3, "next_seq": 3})
    assert snapshot(server, stream_id) == "blue"


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        ("multipart/x-mixed-replace; boundary=frame", b"this is no multipart body", "multipart"),
        ("multipart/x-mixed-replace", b"no boundary line to be found", "multipart"),
        ("multipart/x-mixed-replace", b"--" + b"x" * 100, "multipart"),
        ("image/jpeg", picture("red"), "multipart"),
    ],
)
def test_a_malformed_multipart_body_is_400(server: Server, kind: str, body: bytes, code: str) -> None:
    answer = post_frames(server, server.open(), body, kind)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_one_bad_part_is_passed_over_and_ten_in_a_row_end_the_upload(server: Server) -> None:
    stream_id = server.open()
    assert post_frames(server, stream_id, multipart(b"junk", picture("red"), b"junk")).json()["accepted"] == 1
    answer = post_frames(server, stream_id, multipart(*[b"junk"] * 10, picture("blue")))
    assert (answer.status_code, answer.json()["code"]) == (422, "undecodable")
    assert snapshot(server, stream_id) == "red"


def test_a_part_beyond_the_limit_is_413(server: Server) -> None:
    answer = post_frames(server, server.open(), multipart(bytes(2**21 + 1)))
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_an_endless_upload_that_is_refused_is_cut_off(server: Server) -> None:
    """Nobody goes on reading a body whose answer is out: the connection ends."""
    stream_id = server.open()
    with socket.create_connection(server.address, timeout=10) as sender:
        sender.sendall(
            b"POST /stream/%b/frames HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n" % stream_id.encode()
        )
        sender.sendall(b"1000\r\n" + bytes(0x1000) + b"\r\n")
        assert b" 400 " in sender.recv(1000)
        eventually(lambda: _is_cut(sender), within_s=5)
    assert server.show(stream_id)["publishers"] == 0


def _is_cut(sender: socket.socket) -> bool:
    try:
        sender.sendall(b"1000\r\n" + bytes(0x1000) + b"\r\n")
    except (BrokenPipeError, ConnectionResetError):
        return True
    return False


def test_an_open_upload_holds_the_publishers_place_and_leaves_it_when_it_ends(server: Server) -> None:
    stream_id = server.open(grace_s=0)
    more = threading.Event()

    def slow() -> Iterator[bytes]:
        first, *rest = multipart(picture("red"))
        yield first
        yield rest[0] + b"--frame\r\n"
        more.wait(20)

    sender = threading.Thread(target=post_frames, args=(server, stream_id, slow()))
    sender.start()
    eventually(lambda: server.show(stream_id)["frames_in"] == 1)
    assert server.show(stream_id)["publishers"] == 1
    assert refused(server, stream_id, picture("blue")) == (409, "second_publisher")
    more.set()
    sender.join()
    gone = eventually(lambda: (a := server.http.get(f"/stream/{stream_id}")).status_code == 404 and a, within_s=1)
    assert gone.json()["reason"] == "last_client_left"


MPJPEG = ["-pix_fmt", "yuvj420p", "-c:v", "mjpeg", "-q:v", "3", "-f", "mpjpeg", "-method", "POST"]
FFMPEG = ["ffmpeg", "-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i"]


def test_ffmpeg_pushes_mpjpeg(server: Server) -> None:
    stream_id = server.open()
    url = f"{server.url}/stream/{stream_id}/frames"
    source = "color=c=0x00ff00:size=320x240:rate=25:duration=1"
    done = subprocess.run([*FFMPEG, source, *MPJPEG, url], capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    status = server.show(stream_id)
    assert (status["frames_in"], status["dropped"]["ingest"], status["width"], status["height"]) == (25, {}, 320, 240)
    assert snapshot(server, stream_id) == "green"


def test_curl_uploads_a_recorded_multipart_file(server: Server, tmp_path: Any) -> None:
    file = tmp_path / "recorded.mpjpeg"
    file.write_bytes(b"".join(multipart(picture("red"), picture("yellow"), boundary=b"cut")))
    stream_id = server.open()
    kind = "Content-Type: multipart/x-mixed-replace; boundary=cut"
    url = f"{server.url}/stream/{stream_id}/frames"
    done = subprocess.run(
        ["curl", "-sf", "-X", "POST", "-H", kind, "-T", str(file), url], capture_output=True, check=True
    )
    assert json.loads(done.stdout) == {"accepted": 2, "next_seq": 2}
    assert snapshot(server, stream_id) == "yellow"
