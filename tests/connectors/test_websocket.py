"""The stream socket of a real server: every form of frame, acknowledgements, and what a mistake costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from tests.pictures import base64_of, colour_of, data_url, picture
from tests.server import Server, eventually
from tests.sockets import farewell, framed, pong, shown, socket_to, told

pytestmark = pytest.mark.e2e

CAPTURED_MS = 1_764_140_400_123  # 2025-11-26T07:00:00.123Z
CAPTURED = "2025-11-26T07:00:00.123Z"
TRUNCATED = picture("red")[:-40]
HUGE = picture("red").replace(b"\x00\x78\x00\xa0", b"\x7d\x00\x7d\x00", 1)  # its header claims 32000 x 32000


def json_frame(image: str, **more: Any) -> str:
    return json.dumps({"type": "frame", "image": image, **more})


# --- pictures in -----------------------------------------------------------------------------------------------------


def test_every_form_of_frame_is_taken_on_one_socket(server: Server) -> None:
    forms: list[tuple[str | bytes, str, int, int]] = [
        (data_url(picture("red")), "red", 0, 0),
        (base64_of(picture("green")), "green", 1, 0),
        (json_frame(data_url(picture("blue")), seq=10, ts=CAPTURED_MS), "blue", 10, CAPTURED_MS * 1000),
        (json_frame(base64_of(picture("yellow")), seq=11, ts=CAPTURED), "yellow", 11, CAPTURED_MS * 1000),
        (picture("white"), "white", 12, 0),
        (framed(picture("black"), 20, CAPTURED_MS * 1000 + 7), "black", 20, CAPTURED_MS * 1000 + 7),
        (framed(picture("red"), 30, meta=b'{"lens":"wide"}'), "red", 30, 0),
        (data_url(picture("green", kind="png"), "png"), "green", 31, 0),
        (data_url(picture("blue", kind="webp"), "webp"), "blue", 32, 0),
        (picture("yellow", kind="png"), "yellow", 33, 0),
    ]
    stream_id = server.open()
    with (
        socket_to(server, stream_id, subprotocols=["framegate.v1"]) as camera,
        socket_to(server, stream_id, "?frames=binary") as viewer,
    ):
        assert camera.subprotocol == "framegate.v1"
        for message, colour, seq, micros in forms:
            camera.send(message)
            pushed = shown(viewer)
            assert (colour_of(pushed.jpeg), pushed.seq, pushed.micros) == (colour, seq, micros)


def test_a_png_or_webp_frame_comes_out_as_a_jpeg(server: Server) -> None:
    stream_id = server.open()
    with socket_to(server, stream_id) as camera, socket_to(server, stream_id, "?frames=binary") as viewer:
        for kind in ("png", "webp"):
            camera.send(data_url(picture("red", kind=kind), kind))
            assert shown(viewer).jpeg[:3] == b"\xff\xd8\xff"


def test_fragments_of_one_message_are_one_frame(server: Server) -> None:
    stream_id = server.open()
    with socket_to(server, stream_id, "?frames=binary") as camera:
        jpeg = picture("red")
        camera.send([jpeg[start : start + 100] for start in range(0, len(jpeg), 100)])
        assert colour_of(shown(camera).jpeg) == "red"


# --- hello, acknowledgements, what is told ---------------------------------------------------------------------------


def test_hello_names_the_stream_its_limits_and_how_to_resume(server: Server) -> None:
    stream_id = server.open(max_fps=12)
    server.push(stream_id, picture("red"))
    with socket_to(server, stream_id) as viewer:
        hello = told(viewer, "hello")
    assert len(hello.pop("resume_token")) >= 20
    assert hello == {
        "type": "hello",
        "protocol": "framegate.v1",
        "version": "0.1.0",
        "stream_id": stream_id,
        "limits": {"max_message_bytes": 2**21, "max_pixels": 33_177_600, "max_fps": 12, "credits": 4},
        "next_seq": 1,
        "analyzers": [],
    }


def test_a_publisher_of_the_subprotocol_gets_acks_with_its_own_seq(server: Server) -> None:
    with socket_to(server, server.open(), subprotocols=["framegate.v1"]) as camera:
        camera.send(framed(picture("red"), 7))
        assert told(camera, "ack") == {"type": "ack", "seq": 7, "credits": 4, "dropped": 0}
        camera.send(framed(picture("red"), 9))
        assert told(camera, "ack") == {"type": "ack", "seq": 9, "credits": 4, "dropped": 0}


@pytest.mark.parametrize("asks", ['{"type":"hello","acks":true}', '{"type":"ack","seq":0}'])
def test_any_other_publisher_gets_acks_once_it_asks(server: Server, asks: str) -> None:
    with socket_to(server, server.open()) as camera:
        camera.send(picture("red"))
        assert "ack" not in {said["type"] for said in pong(camera)}
        camera.send(asks)
        camera.send(picture("red"))
        assert told(camera, "ack") == {"type": "ack", "seq": 1, "credits": 4, "dropped": 0}


def test_results_carry_the_seq_and_capture_time_of_their_frame(server: Server) -> None:
    stream_id = server.open(analyzers=["motion"])
    with socket_to(server, stream_id, "?frames=binary") as viewer, socket_to(server, stream_id) as camera:
        eventually(lambda: server.show(stream_id)["analyzers"][0]["state"] == "ready")
        camera.send(json_frame(base64_of(picture("red")), seq=5, ts=CAPTURED_MS))
        pushed, result = shown(viewer), None
        while result is None or "detections" not in result["analyzers"]["motion"]:
            result = told(viewer, "result")
    assert (pushed.seq, pushed.micros) == (5, CAPTURED_MS * 1000)
    motion = result["analyzers"].pop("motion")
    assert set(motion) == {"version", "state", "latency_ms", "age_ms", "detections", "measures"}
    assert (motion["state"], motion["detections"]) == ("ready", [])
    assert 0 < motion["latency_ms"] <= motion["age_ms"]
    assert result.pop("received_at").endswith("Z")
    assert result.pop("clock_skew_s") < -5
    assert result == {
        "type": "result",
        "schema": "1.0",
        "stream_id": stream_id,
        "camera_id": None,
        "seq": 5,
        "captured_at": CAPTURED,
        "width": 160,
        "height": 120,
        "analyzers": {},
        "dropped": {"ingest": {}, "analysis": {}, "viewers": {}},
    }


def test_subscribe_chooses_the_form_of_pictures_and_begins_with_the_newest(server: Server) -> None:
    stream_id = server.open()
    server.push(stream_id, picture("red"), ts=CAPTURED)
    with socket_to(server, stream_id) as viewer:
        told(viewer, "hello")
        viewer.send('{"type":"subscribe","frames":"base64"}')
        topics = ["results", "events", "status", "messages"]
        assert told(viewer, "subscribed") == {"type": "subscribed", "frames": "base64", "topics": topics}
        frame = told(viewer, "frame")
        assert frame == {"type": "frame", "seq": 0, "captured_at": CAPTURED, "image": data_url(picture("red"))}
        viewer.send('{"type":"subscribe","frames":"binary","topics":[]}')
        assert told(viewer, "subscribed") == {"type": "subscribed", "frames": "binary", "topics": []}
        assert shown(viewer) == (0, CAPTURED_MS * 1000, picture("red"))
        viewer.send('{"type":"subscribe","frames":"none","topics":["messages"]}')
        assert told(viewer, "subscribed") == {"type": "subscribed", "frames": "none", "topics": ["messages"]}
        server.push(stream_id, picture("green"))
        viewer.send('{"type":"ping"}')
        assert json.loads(viewer.recv(timeout=5)) == {"type": "pong"}
        viewer.send('{"type":"subscribe","frames":"binary","topics":[]}')
        assert colour_of(shown(viewer).jpeg) == "green"


def test_a_viewer_without_a_wish_gets_no_picture(server: Server) -> None:
    stream_id = server.open()
    with socket_to(server, stream_id) as viewer:
        told(viewer, "hello")
        server.push(stream_id, picture("red"))
        told(viewer, "status")
        viewer.send('{"type":"ping"}')
        while (message := viewer.recv(timeout=5)) != '{"type":"pong"}':
            assert isinstance(message, str)
            assert json.loads(message)["type"] == "status"


def test_too_fast_a_publisher_is_told_to_slow_down(server: Server) -> None:
    stream_id = server.open(max_fps=1)
    with socket_to(server, stream_id, subprotocols=["framegate.v1"]) as camera:
        for seq in range(3):
            camera.send(framed(picture("red"), seq))
        assert told(camera, "slow_down") == {"type": "slow_down", "fps": 1}
        assert pong(camera) is not None
    status = server.show(stream_id)
    assert (status["frames_in"], status["dropped"]["ingest"]) == (1, {"max_fps": 2})


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_a_bad_message_is_answered_and_the_fifth_in_ten_seconds_closes(server: Server) -> None:
    mistakes: list[tuple[str | bytes, str]] = [
        ("not base64!", "bad_base64"),
        ("[1]", "bad_json"),
        ('{"type":"frame"}', "bad_message"),
        (b"GIF89a", "bad_message"),
        ("data:image/gif;base64,R0lG", "bad_image_url"),
    ]
    with socket_to(server, server.open()) as camera:
        for message, code in mistakes[:-1]:
            camera.send(message)
            assert told(camera, "error")["code"] == code
        camera.send(mistakes[-1][0])
        heard, closed, reason = farewell(camera)
    assert [said["code"] for said in heard if said["type"] == "error"] == ["bad_image_url"]
    assert (closed, reason) == (4400, "bad_image_url")


@pytest.mark.parametrize(("image", "code", "closed"), [(TRUNCATED, "truncated", 4422), (HUGE, "image_too_large", 4413)])
def test_the_tenth_bad_picture_in_a_row_closes(server: Server, image: bytes, code: str, closed: int) -> None:
    with socket_to(server, server.open()) as camera:
        for _ in range(9):
            camera.send(image)
            assert told(camera, "error")["code"] == code
        camera.send(picture("red"))  # one good picture, and the count begins again
        for _ in range(10):
            camera.send(image)
        heard, close_code, reason = farewell(camera)
    assert [said["code"] for said in heard if said["type"] == "error"] == [code] * 10
    assert (close_code, reason) == (closed, code)


def test_a_message_beyond_the_limit_ends_the_socket_and_nobody_elses(server: Server) -> None:
    stream_id = server.open()
    with socket_to(server, stream_id) as viewer, socket_to(server, stream_id) as camera:
        told(camera, "hello")
        with pytest.raises(ConnectionClosed) as ended:
            _send_and_hear(camera, bytes(2**21 + 1))
        assert ended.value.rcvd is None or ended.value.rcvd.code == 1009  # or reset, since it did not read on
        assert pong(viewer) is not None


def _send_and_hear(camera: ClientConnection, message: bytes) -> None:
    camera.send(message)
    while True:
        camera.recv(timeout=5)


# --- one publisher at a time -----------------------------------------------------------------------------------------


def _second(socket: ClientConnection) -> tuple[int, list[str]]:
    heard, code, _ = farewell(socket)
    return code, [said["code"] for said in heard if said["type"] == "error"]


def test_a_second_publisher_is_refused_and_the_first_goes_on(server: Server) -> None:
    stream_id = server.open()
    with socket_to(server, stream_id) as first, socket_to(server, stream_id, "?frames=binary") as second:
        first.send(picture("red"))
        assert colour_of(shown(second).jpeg) == "red"
        second.send(picture("blue"))
        assert _second(second) == (4409, ["second_publisher"])
        first.send(picture("green"))
        pong(first)
    assert colour_of(server.http.get(f"/stream/{stream_id}/snapshot.jpg").content) == "green"


def test_the_resume_token_takes_the_publishers_place_at_once(server: Server) -> None:
    stream_id = server.open()
    with socket_to(server, stream_id) as first, socket_to(server, stream_id) as second:
        token = told(first, "hello")["resume_token"]
        first.send(picture("red"))
        pong(first)
        second.send(json.dumps({"type": "hello", "resume": token}))
        second.send(picture("green"))
        assert farewell(first)[1:] == (4409, "another publisher took over")
        second.send(picture("blue"))
        pong(second)
    assert colour_of(server.http.get(f"/stream/{stream_id}/snapshot.jpg").content) == "blue"


@pytest.mark.slow
def test_a_publisher_silent_for_two_seconds_loses_its_place(server: Server) -> None:
    stream_id = server.open()
    with socket_to(server, stream_id) as silent:
        silent.send(picture("red"))
        pong(silent)

        def newcomer_is_taken() -> bool:
            with socket_to(server, stream_id, subprotocols=["framegate.v1"]) as newcomer:
                newcomer.send(picture("green"))
                return next(said["type"] for said in _all(newcomer) if said["type"] in ("ack", "error")) == "ack"

        eventually(newcomer_is_taken, within_s=5)
        assert farewell(silent)[1] == 4409


def _all(socket: ClientConnection) -> Iterator[dict[str, str]]:
    while True:
        yield json.loads(socket.recv(timeout=5))


# --- the end ---------------------------------------------------------------------------------------------------------


def test_a_deleted_stream_says_bye_and_closes_with_4404(server: Server) -> None:
    stream_id = server.open()
    with socket_to(server, stream_id) as viewer:
        told(viewer, "hello")
        assert server.http.delete(f"/stream/{stream_id}").status_code == 204
        heard, code, reason = farewell(viewer)
    assert heard[-1] == {"type": "bye", "reason": "deleted"}
    assert (code, reason) == (4404, "deleted")
    assert server.http.delete(f"/stream/{stream_id}").json()["code"] == "session_ended"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "http://localhost@x"]
)
def test_a_foreign_page_gets_no_socket(server: Server, origin: str) -> None:
    with (
        pytest.raises(InvalidStatus) as refused,
        socket_to(server, server.open(), additional_headers={"Origin": origin}),
    ):
        pass
    assert (refused.value.response.status_code, json.loads(refused.value.response.body)["code"]) == (403, "origin")


def test_a_page_of_this_machine_gets_a_socket(server: Server) -> None:
    for origin in ("http://localhost:3000", server.url):
        with socket_to(server, server.open(), additional_headers={"Origin": origin}) as viewer:
            assert told(viewer, "hello")


def test_an_unknown_word_in_the_query_is_refused_before_the_upgrade(server: Server) -> None:
    with pytest.raises(InvalidStatus) as refused, socket_to(server, server.open(), "?frames=h264"):
        pass
    assert refused.value.response.status_code == 400


def test_compression_is_never_negotiated(server: Server) -> None:
    with socket_to(server, server.open(), compression="deflate") as viewer:
        assert viewer.response is not None
        assert "Sec-WebSocket-Extensions" not in viewer.response.headers
