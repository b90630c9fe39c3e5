"""The older stream client's flow, word for word, with curl and a plain WebSocket library and none of our code."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any, Literal

import pytest
from websockets.exceptions import InvalidStatus

from tests.pictures import colour_of, data_url, picture
from tests.server import Server, eventually
from tests.sockets import pong, socket_to, told

pytestmark = pytest.mark.e2e


def curl(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON body of a request made by curl."""
    done = subprocess.run(["curl", "-s", "-w", "\n%{http_code}", *arguments], capture_output=True, check=True)
    body, _, status = done.stdout.decode().rpartition("\n")
    return int(status), json.loads(body)


def test_a_request_is_answered_with_the_older_clients_six_keys_first_and_one_id(server: Server) -> None:
    status, answer = curl("-X", "POST", f"{server.url}/stream/request")
    stream_id = answer["stream_id"]
    assert status == 200
    assert list(answer.items())[:6] == [
        ("stream_token", stream_id),
        ("stream_id", stream_id),
        ("video_uuid", stream_id),
        ("video_id", stream_id),
        ("websocket_url", f"/ws/stream/{stream_id}"),
        ("status", "active"),
    ]
    assert {key: answer[key] for key in ("video_url", "viewer_url", "snapshot_url", "whip_url", "whep_url")} == {
        "video_url": f"/stream/video/{stream_id}",
        "viewer_url": f"/viewer?stream_id={stream_id}",
        "snapshot_url": f"/stream/{stream_id}/snapshot.jpg",
        "whip_url": f"/stream/{stream_id}/whip",
        "whep_url": f"/stream/{stream_id}/whep",
    }
    assert answer["expires_at"].endswith("Z")
    assert answer["analyzers"] == ["motion"]


def test_data_urls_go_in_by_the_socket_and_come_out_as_json_and_mjpeg(server: Server) -> None:
    _, stream = curl("-X", "POST", f"{server.url}/stream/request")
    with socket_to(server, stream["stream_id"]) as camera, socket_to(server, stream["stream_id"]) as viewer:
        assert told(viewer, "hello")["stream_id"] == stream["stream_id"]
        eventually(lambda: _pushed_until_analyzed(camera))
        result = told(viewer, "result")
        assert (result["stream_id"], result["width"], result["height"]) == (stream["stream_id"], 160, 120)
        assert list(result["analyzers"]) == ["motion"]
        with subprocess.Popen(["curl", "-sN", server.url + stream["video_url"]], stdout=subprocess.PIPE) as reader:
            assert reader.stdout is not None
            part = b""
            while part.count(b"--frame\r\n") < 2:
                part += os.read(reader.stdout.fileno(), 65536)
            reader.terminate()
        assert part.startswith(b"--frame\r\nContent-Type: image/jpeg\r\n")
        assert colour_of(part[part.index(b"\xff\xd8") : part.index(b"\xff\xd9") + 2]) == "red"


def _pushed_until_analyzed(camera: Any) -> bool:
    camera.send(data_url(picture("red")))
    return any(said["type"] == "result" and "detections" in said["analyzers"]["motion"] for said in pong(camera))


def test_messages_and_json_of_no_known_type_are_relayed_to_everybody_else(server: Server) -> None:
    stream_id = server.open()
    with socket_to(server, stream_id) as one, socket_to(server, stream_id) as other:
        one.send('{"type":"message","data":{"hello":["to",1]}}')
        assert told(other, "message") == {"type": "message", "data": {"hello": ["to", 1]}}
        one.send('{"type":"chat","text":"hi"}')
        assert told(other, "message") == {"type": "message", "data": {"type": "chat", "text": "hi"}}
        one.send('{"no":"type"}')
        assert told(other, "message") == {"type": "message", "data": {"no": "type"}}
        assert [said for said in pong(one) if said["type"] == "message"] == []


def test_a_stream_is_gone_when_the_last_socket_has_left_and_the_grace_is_over(server: Server) -> None:
    _, stream = curl("-H", "Content-Type: application/json", "-d", '{"grace_s": 0}', f"{server.url}/stream/request")
    url = f"{server.url}/stream/{stream['stream_id']}"
    with socket_to(server, stream["stream_id"]), socket_to(server, stream["stream_id"]) as last:
        told(last, "hello")
    status, problem = eventually(lambda: _unless(curl(url), 200), within_s=1.0)
    assert status == 404
    assert problem.pop("request_id")
    assert problem == {
        "type": "about:blank",
        "title": "Not found",
        "status": 404,
        "detail": "the stream has ended: last_client_left",
        "code": "session_ended",
        "reason": "last_client_left",
    }


def _unless(answer: tuple[int, dict[str, Any]], status: int) -> tuple[int, dict[str, Any]] | Literal[False]:
    return False if answer[0] == status else answer


def test_a_stream_is_resumed_by_the_same_id_within_the_grace(server: Server) -> None:
    stream_id = server.open(grace_s=20)
    with socket_to(server, stream_id) as camera:
        camera.send(data_url(picture("red")))
        pong(camera)
    eventually(lambda: server.show(stream_id)["publishers"] == 0)
    with socket_to(server, stream_id) as again:
        assert told(again, "hello")["next_seq"] == 1


def test_a_socket_to_an_unknown_stream_is_refused_before_the_upgrade(server: Server) -> None:
    with pytest.raises(InvalidStatus) as refused, socket_to(server, "no-such-stream"):
        pass
    answer = refused.value.response
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")
    problem = json.loads(answer.body)
    assert problem.pop("request_id") == answer.headers["X-Request-Id"]
    assert problem == {
        "type": "about:blank",
        "title": "Not found",
        "status": 404,
        "detail": "there is no such stream",
        "code": "not_found",
    }
