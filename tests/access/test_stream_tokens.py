"""Tokens of a stream in the place of its id: what each allows, how it is taken back; and tickets for one socket."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest
from websockets.exceptions import InvalidStatus

from tests.access.door import TOKEN, basic, bearer, make, publish_token, revoke, socket_to, view_token
from tests.pictures import colour_of, picture
from tests.server import PATIENCE_S, Server, eventually
from tests.sockets import farewell, shown, told

pytestmark = pytest.mark.e2e


def status(server: Server, method: str, path: str, **more: Any) -> tuple[int, str | None]:
    answer = server.http.request(method, path, **more)
    problem = answer.headers.get("content-type") == "application/problem+json"
    return answer.status_code, answer.json()["code"] if problem else None


def refusal(server: Server, place: str, **more: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as refused, socket_to(server, place, **more):
        pass
    response = refused.value.response
    return response.status_code, json.loads(response.body)["code"]


# --- what they allow -------------------------------------------------------------------------------------------------


def test_the_answer_holds_two_tokens_where_an_open_gateway_has_one_id(stream: dict[str, Any], server: Server) -> None:
    view, publish, name = view_token(stream), publish_token(stream), stream["stream_id"]
    assert (view[:4], publish[:4], len({view, publish, name})) == ("fgv_", "fgp_", 3)
    assert {key: value for key, value in stream.items() if key not in ("expires_at", "analyzers")} == {
        "stream_token": publish,
        "stream_id": name,
        "video_uuid": name,
        "video_id": name,
        "websocket_url": f"/ws/stream/{publish}",
        "status": "active",
        "video_url": f"/stream/video/{view}",
        "viewer_url": f"/viewer/{view}",
        "snapshot_url": f"/stream/{view}/snapshot.jpg",
        "events_url": f"/stream/{view}/events",
        "whip_url": f"/stream/{publish}/whip",
        "whep_url": f"/stream/{view}/whep",
    }
    opened = server.http.post("/stream/request", json={"analyzers": []}).json()
    assert len({opened[key] for key in ("stream_token", "stream_id", "video_uuid", "video_id")}) == 1


def test_a_publish_token_publishes_and_views_and_a_view_token_views(guarded: Server, stream: dict[str, Any]) -> None:
    with (
        socket_to(guarded, publish_token(stream)) as camera,
        socket_to(guarded, view_token(stream), "?frames=binary") as viewer,
        socket_to(guarded, publish_token(stream), "?frames=binary") as other,
    ):
        assert told(viewer, "hello")["stream_id"] == stream["stream_id"]
        camera.send(picture("red"))
        assert [colour_of(shown(socket).jpeg) for socket in (viewer, other)] == ["red", "red"]
    for token in (view_token(stream), publish_token(stream)):
        assert colour_of(guarded.http.get(f"/stream/{token}/snapshot.jpg").content) == "red"
        with guarded.http.stream("GET", f"/stream/video/{token}") as video:
            assert next(video.iter_raw(9)) == b"--frame\r\n"
        with guarded.http.stream("GET", f"/stream/{token}/events") as events:
            assert next(events.iter_lines()) == ": framegate"


def test_a_view_token_that_sends_a_frame_is_closed_and_nothing_is_shown(
    guarded: Server, stream: dict[str, Any]
) -> None:
    with socket_to(guarded, view_token(stream)) as viewer:
        viewer.send(picture("red"))
        heard, code, reason = farewell(viewer)
    assert (heard[-1]["type"], heard[-1]["code"], code, reason) == ("error", "scope", 4403, "scope")
    posted = status(guarded, "POST", f"/stream/{view_token(stream)}/frame", content=picture("red"))
    assert posted == (403, "scope")
    assert guarded.http.get(f"/stream/{view_token(stream)}").json()["frames_in"] == 0


def test_what_a_viewer_says_reaches_nobody(guarded: Server, stream: dict[str, Any]) -> None:
    with socket_to(guarded, view_token(stream)) as viewer, socket_to(guarded, publish_token(stream)) as camera:
        viewer.send('{"type":"message","data":"turn left"}')
        assert told(viewer, "error")["code"] == "scope"
        camera.send('{"type":"message","data":"hello"}')
        assert told(viewer, "message")["data"] == "hello"
        viewer.send('{"type":"ping"}')
        assert told(viewer, "pong")


def test_a_stream_of_another_is_as_unknown_as_one_that_is_not_there(guarded: Server, stream: dict[str, Any]) -> None:
    another = guarded.http.post("/stream/request", json={"analyzers": []}, headers=bearer(TOKEN)).json()
    guarded.http.delete(f"/stream/{another['stream_id']}", headers=bearer(TOKEN))
    third = guarded.http.post("/stream/request", json={"analyzers": []}, headers=bearer(TOKEN)).json()
    answers = []
    for stream_id in (third["stream_id"], another["stream_id"], "0" * 32, "no stream at all"):
        answer = guarded.http.get(f"/stream/{stream_id}", headers=bearer(view_token(stream)))
        answers.append((answer.status_code, {k: v for k, v in answer.json().items() if k != "request_id"}))
    assert answers == [answers[0]] * 4
    assert (answers[0][0], answers[0][1]["code"]) == (404, "not_found")
    assert refusal(guarded, third["stream_id"], additional_headers=bearer(view_token(stream))) == (404, "not_found")


def test_a_viewer_is_told_no_publish_token(guarded: Server, stream: dict[str, Any]) -> None:
    answer = guarded.http.get(f"/stream/{view_token(stream)}")
    assert (answer.json()["stream_token"], answer.json()["whip_url"]) == (None, None)
    assert answer.json()["websocket_url"] == f"/ws/stream/{view_token(stream)}"
    assert "fgp_" not in answer.text
    assert guarded.http.get(f"/stream/{publish_token(stream)}").json()["stream_token"] == publish_token(stream)
    assert (
        guarded.http.get(f"/stream/{stream['stream_id']}", headers=bearer(TOKEN)).json()["stream_token"][:4] == "fgp_"
    )


def test_an_answer_to_a_credential_is_kept_by_no_cache(guarded: Server, stream: dict[str, Any]) -> None:
    headers = guarded.http.get(f"/stream/{view_token(stream)}").headers
    assert (headers["cache-control"], headers["referrer-policy"]) == ("private, no-store", "same-origin")


# --- other ways to show them -----------------------------------------------------------------------------------------


def test_basic_with_a_token_as_password_reads(guarded: Server, stream: dict[str, Any]) -> None:
    path = f"/stream/{stream['stream_id']}"
    assert status(guarded, "GET", path, headers=basic(view_token(stream))) == (200, None)
    assert status(guarded, "GET", path, headers=basic(TOKEN)) == (200, None)
    assert status(guarded, "GET", path, headers=basic("wrong")) == (401, "credential")
    assert status(guarded, "GET", path, headers={"Authorization": "Basic !!!"}) == (401, "credential")
    assert status(guarded, "DELETE", path, headers=basic(TOKEN)) == (401, "credential")
    with socket_to(guarded, stream["stream_id"], additional_headers=bearer(view_token(stream))) as viewer:
        assert told(viewer, "hello")["stream_id"] == stream["stream_id"]


def test_players_are_offered_basic_and_browsers_are_not(guarded: Server, stream: dict[str, Any]) -> None:
    video = f"/stream/video/{stream['stream_id']}"
    asked = {
        agent: guarded.http.get(path, headers={"User-Agent": agent}).headers["www-authenticate"]
        for agent, path in (("VLC/3.0.21", video), ("Mozilla/5.0 (X11)", video), ("Prometheus/3", "/metrics"))
    }
    assert asked == {
        "VLC/3.0.21": 'Bearer realm="framegate", Basic realm="framegate", charset="UTF-8"',
        "Mozilla/5.0 (X11)": 'Bearer realm="framegate"',
        "Prometheus/3": 'Bearer realm="framegate"',
    }
    wrong = guarded.http.get("/metrics", headers=bearer("wrong")).headers["www-authenticate"]
    assert wrong == 'Bearer realm="framegate", error="invalid_token"'


@pytest.mark.parametrize("name", ["token", "access_token", "Ticket", "anything"])
def test_no_token_is_taken_from_a_query(guarded: Server, stream: dict[str, Any], name: str) -> None:
    secret = view_token(stream)
    with_name = status(guarded, "GET", f"/stream/{secret}?{name}={secret}", headers=bearer(TOKEN))
    assert with_name == (401, "token_in_url")
    assert status(guarded, "GET", f"/status?{name}={TOKEN}", headers=bearer(TOKEN)) == (401, "token_in_url")
    assert refusal(guarded, secret, query=f"?{name}={secret}") == (401, "token_in_url")


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer \x7f",
        "Digest abc",
        "bearer" + TOKEN,
        f"Bearer {'x' * 9000}",
        f"Bearer {TOKEN}x",
        TOKEN,
    ],
)
def test_what_is_no_credential_is_none(guarded: Server, authorization: str) -> None:
    assert status(guarded, "GET", "/status", headers={"Authorization": authorization})[0] in (400, 401)


# --- taking them back ------------------------------------------------------------------------------------------------


def test_tokens_are_listed_without_their_secrets(guarded: Server, stream: dict[str, Any]) -> None:
    made = make(guarded, stream, "view", "the neighbours")
    path = f"/stream/{stream['stream_id']}/tokens"
    answer = guarded.http.get(path, headers=bearer(TOKEN))
    assert [(item["scope"], item["name"]) for item in answer.json()["items"]] == [
        ("view", ""),
        ("publish", ""),
        ("view", "the neighbours"),
    ]
    assert (made["token"][:4], "fgv_" in answer.text, "fgp_" in answer.text) == ("fgv_", False, False)
    assert made["viewer_url"] == f"/viewer/{made['token']}"
    newest = guarded.http.get(f"/stream/{stream['stream_id']}", headers=bearer(TOKEN)).json()
    assert newest["viewer_url"] == made["viewer_url"]
    assert status(guarded, "GET", f"/stream/{made['token']}") == (200, None)


def test_a_stream_has_no_more_tokens_than_the_setting(guarded: Server, stream: dict[str, Any]) -> None:
    for _ in range(14):
        make(guarded, stream, "view")
    path = f"/stream/{stream['stream_id']}/tokens"
    assert status(guarded, "POST", path, headers=bearer(TOKEN)) == (409, "token_limit")
    for name in ("two\nlines", "turned\u202earound"):
        named = guarded.http.post(path, json={"name": name}, headers=bearer(TOKEN))
        assert (named.status_code, named.json()["errors"][0]["field"]) == (422, "body.name")


def test_a_revoked_token_closes_its_socket_and_no_other(guarded: Server, stream: dict[str, Any]) -> None:
    token = make(guarded, stream, "view")
    with socket_to(guarded, token["token"]) as viewer, socket_to(guarded, view_token(stream)) as other:
        told(viewer, "hello")
        told(other, "hello")
        revoke(guarded, token)
        assert farewell(viewer)[1:] == (4401, "revoked")
        other.send('{"type":"ping"}')
        assert told(other, "pong")
    assert status(guarded, "GET", f"/stream/{token['token']}") == (401, "credential")
    assert status(guarded, "DELETE", f"/stream/{stream['stream_id']}/tokens/{token['id']}", headers=bearer(TOKEN)) == (
        404,
        "not_found",
    )


def test_fifty_sockets_by_one_token_are_closed_within_seconds(guarded: Server, stream: dict[str, Any]) -> None:
    token = make(guarded, stream, "view")
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket_to(guarded, token["token"])) for _ in range(50)]
        listed = guarded.http.get(f"/stream/{stream['stream_id']}/tokens", headers=bearer(TOKEN)).json()["items"]
        assert [item["connections"] for item in listed] == [0, 0, 50]
        began = time.monotonic()
        revoke(guarded, token)
        assert {farewell(socket)[1:] for socket in sockets} == {(4401, "revoked")}
        assert time.monotonic() - began < 5


def test_a_revoked_publisher_is_gone_at_once(guarded: Server, stream: dict[str, Any]) -> None:
    token = make(guarded, stream, "publish")
    with (
        socket_to(guarded, token["token"]) as camera,
        socket_to(guarded, view_token(stream), "?frames=binary") as viewer,
    ):
        camera.send(picture("red"))
        shown(viewer)
        revoke(guarded, token)
        assert farewell(camera)[1:] == (4401, "revoked")
    state = guarded.http.get(f"/stream/{stream['stream_id']}", headers=bearer(TOKEN)).json()
    assert state["publishers"] == 0


@pytest.mark.parametrize("path", ["/stream/video/{}", "/stream/{}/events"])
def test_a_revoked_token_ends_its_video_and_events_well(guarded: Server, stream: dict[str, Any], path: str) -> None:
    token = make(guarded, stream, "view")
    guarded.http.post(f"/stream/{publish_token(stream)}/frame", content=picture("red"))
    with (
        httpx2.Client(base_url=guarded.url, timeout=PATIENCE_S) as reader,
        reader.stream("GET", path.format(token["token"])) as body,
    ):
        parts = body.iter_raw()
        assert next(parts)
        threading.Timer(0.0, revoke, (guarded, token)).start()
        for _ in parts:  # to its end: a cut would raise
            pass


def test_an_upload_by_a_revoked_token_is_answered_401(guarded: Server, stream: dict[str, Any]) -> None:
    token = make(guarded, stream, "publish")
    path = f"/stream/{token['token']}/frames"

    def body() -> Any:
        yield b"--b\r\nContent-Type: image/jpeg\r\n\r\n" + picture("red") + b"\r\n--b\r\n"
        eventually(lambda: _publishers(guarded, stream) == 1)
        revoke(guarded, token)
        yield from iter(lambda: b" " * 1024, None) if _publishers(guarded, stream) else ()

    headers = {"Content-Type": "multipart/x-mixed-replace; boundary=b"}
    with httpx2.Client(base_url=guarded.url, timeout=PATIENCE_S) as camera:
        answer = camera.post(path, content=body(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "credential")


def _publishers(server: Server, stream: dict[str, Any]) -> int:
    path = f"/stream/{stream['stream_id']}"
    with httpx2.Client(base_url=server.url, headers=bearer(TOKEN)) as http:
        found: int = http.get(path).json()["publishers"]
        return found


def test_a_stream_that_ended_says_so_to_those_who_had_its_token(guarded: Server, stream: dict[str, Any]) -> None:
    assert status(guarded, "DELETE", f"/stream/{publish_token(stream)}") == (204, None)
    assert status(guarded, "GET", f"/stream/{view_token(stream)}") == (404, "session_ended")
    assert refusal(guarded, view_token(stream)) == (404, "session_ended")


# --- tickets ---------------------------------------------------------------------------------------------------------


def ticket(server: Server, secret: str, **wish: Any) -> dict[str, Any]:
    answer = server.http.post("/api/auth/ticket", json=wish, headers=bearer(secret))
    assert answer.status_code == 200, answer.text
    given: dict[str, Any] = answer.json()
    return given


def test_a_ticket_opens_one_socket_as_a_subprotocol(guarded: Server, stream: dict[str, Any]) -> None:
    given = ticket(guarded, TOKEN)
    assert (given["ticket"][:4], given["expires_in"], given["websocket_url"]) == ("fgt_", 30.0, None)
    offered = ["framegate.v1", given["protocol"]]
    with socket_to(guarded, stream["stream_id"], subprotocols=offered) as socket:
        assert (socket.subprotocol, told(socket, "hello")["stream_id"]) == ("framegate.v1", stream["stream_id"])
    assert refusal(guarded, stream["stream_id"], subprotocols=offered) == (401, "credential")


def test_a_ticket_opens_one_socket_in_the_path(guarded: Server, stream: dict[str, Any]) -> None:
    given = ticket(guarded, publish_token(stream), stream_id=stream["stream_id"], scope="view")
    place = given["websocket_url"].rpartition("/")[2]
    with socket_to(guarded, place) as socket:
        assert told(socket, "hello")["stream_id"] == stream["stream_id"]
        socket.send(picture("red"))
        assert farewell(socket)[1:] == (4403, "scope")
    assert refusal(guarded, place) == (401, "credential")
    assert status(guarded, "GET", f"/stream/{ticket(guarded, TOKEN)['ticket']}") == (401, "credential")


def test_a_ticket_allows_no_more_than_who_asked_for_it(guarded: Server, stream: dict[str, Any]) -> None:
    other = guarded.http.post("/stream/request", json={"analyzers": []}, headers=bearer(TOKEN)).json()["stream_id"]

    def asked(**wish: Any) -> tuple[int, str | None]:
        return status(guarded, "POST", "/auth/ticket", json=wish, headers=bearer(view_token(stream)))

    assert asked(stream_id=stream["stream_id"]) == (200, None)
    assert asked(stream_id=stream["stream_id"], scope="publish") == (403, "scope")
    assert asked(stream_id=other) == asked(stream_id="0" * 32) == (404, "not_found")
    given = ticket(guarded, TOKEN, stream_id=stream["stream_id"])
    assert refusal(guarded, other, subprotocols=["framegate.v1", given["protocol"]]) == (401, "credential")


def test_a_socket_opened_by_a_ticket_ends_with_what_the_ticket_was_made_with(
    guarded: Server, stream: dict[str, Any]
) -> None:
    token = make(guarded, stream, "view")
    used = ticket(guarded, token["token"], stream_id=stream["stream_id"])
    unused = ticket(guarded, token["token"], stream_id=stream["stream_id"])
    with socket_to(guarded, used["ticket"]) as socket:
        told(socket, "hello")
        revoke(guarded, token)
        assert farewell(socket)[1:] == (4401, "revoked")
    assert refusal(guarded, unused["ticket"]) == (401, "credential")
