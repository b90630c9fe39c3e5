"""WHIP (RFC 9725) at a real gateway: what its clients rely on, what is refused, and whose the stream is then."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.access.door import TOKEN, basic, bearer, make, publish_token, revoke, view_token
from tests.pictures import picture
from tests.rtc_http import FRAGMENT, LOOPBACK, OBS, OFFERS, SDP, VIEWER, keep, met, post, publisher, refusal, until
from tests.server import Server, eventually, running
from tests.sockets import pong, socket_to

pytestmark = pytest.mark.e2e

SECRET = "shared with the TURN server"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(
        tmp_path_factory.mktemp("whip"),
        **LOOPBACK,
        FRAMEGATE_WEBRTC__ICE_SERVERS='["turn:turn.example.org:3478?transport=udp", "turns:turn.example.org"]',
        FRAMEGATE_WEBRTC__TURN_SECRET=SECRET,
        FRAMEGATE_WEBRTC__MAX_PEERS_PER_ADDRESS="5",
    ) as running_server:
        keep(running_server)
        yield running_server


@pytest.fixture
def stream(server: Server) -> Iterator[str]:
    """A stream, which ends with its test."""
    stream_id = server.open()
    yield stream_id
    server.http.delete(f"/stream/{stream_id}")


@pytest.fixture
def whip(stream: str) -> str:
    return f"/stream/{stream}/whip"


# --- what clients rely on --------------------------------------------------------------------------------------------


def test_an_offer_is_answered_as_clients_insist(server: Server, whip: str) -> None:
    answer = post(server, whip)
    assert answer.status_code == 201
    assert answer.headers["Content-Type"] == "application/sdp"  # one of them compares all of it
    assert re.fullmatch(rf"{whip}/fgw_[\w-]{{32}}", answer.headers["Location"])  # absolute path, no query, 192 bits
    assert re.fullmatch(r'"[0-9a-f]{16}"', answer.headers["ETag"])
    assert answer.headers["Accept-Patch"] == FRAGMENT
    assert answer.text.startswith("v=0\r\n")
    assert answer.text.endswith("\r\n")
    assert len(answer.text) < 8192
    assert re.findall(r"m=(\w+)", answer.text) == ["audio", "video"]
    assert answer.text.count("a=recvonly\r\n") == 2
    candidates = re.findall(r"a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host", answer.text)
    assert candidates
    assert candidates[0][0] == "127.0.0.1"


def test_who_waits_for_dtls_is_called(server: Server, whip: str) -> None:
    answer = post(server, whip, OFFERS["ffmpeg, audio and video"]["sdp"])
    assert re.findall(r"a=setup:(\w+)", answer.text) == ["active", "active"]


def test_ice_servers_are_told_with_a_login_that_expires(server: Server, whip: str) -> None:
    links = post(server, whip).headers.get_list("Link")
    assert [link.partition(";")[0] for link in links] == [
        "<turn:turn.example.org:3478?transport=udp>",
        "<turns:turn.example.org>",
    ]
    found = re.fullmatch(
        r'<\S+>; rel="ice-server"; username="((\d+):framegate)"; credential="(\S+)"; credential-type="password"',
        links[0],
    )
    assert found
    assert float(found.group(2)) == pytest.approx(time.time() + 86400, abs=60)
    digest = hmac.digest(SECRET.encode(), found.group(1).encode(), hashlib.sha1)
    assert found.group(3) == base64.b64encode(digest).decode()


def test_options_say_what_is_taken(server: Server, whip: str) -> None:
    plain = server.http.options(whip)
    assert (plain.status_code, plain.headers["Accept-Post"]) == (200, "application/sdp")
    assert len(plain.headers.get_list("Link")) == 2  # one client asks for them so
    session = server.http.options(met(post(server, whip)))
    assert (session.status_code, session.headers["Accept-Patch"]) == (200, FRAGMENT)


def test_a_page_may_ask_and_read_what_it_needs(server: Server, whip: str) -> None:
    origin = {"Origin": "http://localhost:5173"}
    ask = {
        **origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, if-match",
    }
    preflight = server.http.options(whip, headers=ask)
    assert (preflight.status_code, preflight.headers["Accept-Post"]) == (200, "application/sdp")
    assert preflight.headers["Access-Control-Allow-Origin"] == origin["Origin"]
    assert {"POST", "PATCH", "DELETE"} <= set(preflight.headers["Access-Control-Allow-Methods"].split(", "))
    assert "Link" not in preflight.headers
    answer = post(server, whip, **origin)
    assert {"Location", "Link", "ETag"} <= set(answer.headers["Access-Control-Expose-Headers"].split(", "))


def test_a_get_shows_nothing(server: Server, whip: str) -> None:
    for path in (whip, met(post(server, whip))):
        answer = server.http.get(path)
        assert (answer.status_code, answer.content) == (204, b"")


def test_hanging_up_is_answered_200_also_when_the_connection_was_closed_before(
    server: Server, stream: str, whip: str
) -> None:
    location = met(post(server, whip))
    assert server.show(stream)["publishers"] == 1
    assert [server.http.delete(location).status_code for _ in range(2)] == [200, 200]
    assert server.show(stream)["publishers"] == 0
    assert refusal(server.http.get(location)) == (404, "not_found")
    assert refusal(server.http.delete(location + "x")) == (404, "not_found")


def test_candidates_trickle_in(server: Server, whip: str) -> None:
    answer = post(server, whip)
    location, tag = met(answer), answer.headers["ETag"]
    ufrag = re.search(r"a=ice-ufrag:(\S+)", OBS)
    assert ufrag

    def patch(body: str, kind: str = FRAGMENT, **headers: str) -> Any:
        return server.http.patch(location, content=body.encode(), headers={"Content-Type": kind, **headers})

    fragment = f"a=ice-ufrag:{ufrag.group(1)}\r\na=ice-pwd:{'p' * 22}\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n"
    fragment += "a=candidate:1 1 UDP 1 8.8.8.8 40000 typ host\r\na=end-of-candidates\r\n"
    good = [patch(fragment), patch(fragment, **{"If-Match": tag}), patch(fragment.replace("\r\n", "\n"))]
    assert [(one.status_code, one.content) for one in good] == [(204, b"")] * 3
    assert refusal(patch(fragment, **{"If-Match": '"other"'})) == (412, "if_match")
    assert refusal(patch(fragment, **{"If-Match": "*"})) == (422, "ice_restart")
    assert refusal(patch(fragment.replace(ufrag.group(1), "another1"))) == (422, "ice_restart")
    assert refusal(patch(fragment, kind="application/sdp")) == (415, "media_type")
    assert refusal(patch("what?")) == (400, "bad_sdp")


# --- what is refused -------------------------------------------------------------------------------------------------


def test_what_cannot_be_answered_is_refused_with_its_reason(server: Server, stream: str, whip: str) -> None:
    assert refusal(post(server, whip, kind="text/plain")) == (415, "media_type")
    assert refusal(post(server, whip, "")) == (400, "bad_sdp")
    assert refusal(server.http.post(whip, content=b"v=0\xff", headers={"Content-Type": "application/sdp"})) == (
        400,
        "bad_sdp",
    )
    assert refusal(post(server, whip, OFFERS["obs, av1"]["sdp"])) == (406, "codec")
    assert refusal(post(server, whip, OFFERS["chromium, viewer"]["sdp"])) == (422, "sdp")
    assert refusal(post(server, whip, OBS + "a=x\r\n" * 512)) == (422, "sdp")
    assert refusal(post(server, whip, OBS + "a=" + "x" * 65536)) == (413, "body_too_large")
    assert refusal(server.http.put(whip, content=OBS.encode())) == (405, "method_not_allowed")
    assert refusal(post(server, f"/stream/{'0' * 32}/whip")) == (404, "not_found")
    assert server.show(stream)["publishers"] == 0  # nothing of all that holds the place


def test_an_address_has_so_many_and_no_more(server: Server) -> None:
    paths = [f"/stream/{server.open()}/whip" for _ in range(5)]
    answers = [post(server, path) for path in paths]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 201, 429]
    assert refusal(answers[4])[1] == "peers_per_address"
    assert int(answers[4].headers["Retry-After"]) >= 1
    server.http.delete(met(answers[0]))
    answers.append(post(server, paths[4]))
    assert answers[5].status_code == 201
    for path in paths:
        server.http.delete(path.removesuffix("/whip"))


# --- whose the stream is ---------------------------------------------------------------------------------------------


def test_one_publishes_at_a_time_and_a_token_takes_over(server: Server, stream: str, whip: str) -> None:
    with socket_to(server, stream) as socket:
        token = json.loads(socket.recv(10))["resume_token"]
        socket.send(picture("red"))
        eventually(lambda: server.show(stream)["frames_in"])
        assert refusal(post(server, whip)) == (409, "second_publisher")
        first = met(post(server, whip, **{"X-Resume-Token": token}))
        eventually(lambda: socket.close_code == 4409)
    assert refusal(post(server, whip, **{"X-Resume-Token": token})) == (409, "second_publisher")
    second = met(post(server, whip, **{"X-Resume-Token": first.rpartition("/")[2]}))
    assert refusal(server.http.get(first)) == (404, "not_found")
    assert server.http.get(second).status_code == 204
    assert server.show(stream)["publishers"] == 1


def test_of_two_who_come_at_once_one_publishes_and_the_other_is_refused(server: Server, stream: str, whip: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = sorted(pool.map(lambda _: post(server, whip), range(2)), key=lambda answer: answer.status_code)
    assert [answer.status_code for answer in answers] == [201, 409]
    assert server.http.get(met(answers[0])).status_code == 204
    assert server.show(stream)["publishers"] == 1


@pytest.mark.slow
def test_an_offer_that_cannot_be_answered_costs_a_silent_publisher_nothing(server: Server, whip: str) -> None:
    silent, interleaved = met(post(server, whip)), OBS.replace("packetization-mode=1", "packetization-mode=2")
    assert refusal(post(server, whip, interleaved)) == (409, "second_publisher")
    eventually(lambda: refusal(post(server, whip, interleaved)) == (406, "codec"))  # it has been silent for long enough
    assert server.http.get(silent).status_code == 204
    newcomer = met(post(server, whip))
    assert [server.http.get(each).status_code for each in (silent, newcomer)] == [404, 204]


@pytest.mark.parametrize(("word", "offer"), [("whip", OBS), ("whep", VIEWER)])
def test_a_stream_that_ends_while_an_offer_comes_is_told_as_ended(
    server: Server, stream: str, word: str, offer: str
) -> None:
    def body() -> Iterator[bytes]:
        yield offer[:100].encode()
        assert server.http.delete(f"/stream/{stream}").status_code == 204
        yield offer[100:].encode()

    answer = server.http.post(f"/stream/{stream}/{word}", content=body(), headers={"Content-Type": SDP})
    assert refusal(answer) == (404, "session_ended")
    assert answer.json()["reason"] == "deleted"


def test_a_socket_that_says_the_publishers_token_is_no_viewer_and_takes_the_place_with_a_picture_only(
    server: Server, stream: str, whip: str
) -> None:
    location = met(post(server, whip))
    with socket_to(server, stream) as messages, socket_to(server, stream):
        assert server.show(stream)["viewers"] == 2
        messages.send(json.dumps({"type": "hello", "resume": location.rpartition("/")[2]}))
        pong(messages)
        shown = server.show(stream)
        assert (shown["viewers"], shown["publishers"]) == (1, 1)
        assert server.http.get(location).status_code == 204
        messages.send(picture("red"))
        pong(messages)
        assert refusal(server.http.get(location)) == (404, "not_found")
        shown = server.show(stream)
        assert (shown["viewers"], shown["publishers"]) == (1, 1)


def test_a_session_is_found_on_its_own_stream_only(server: Server, stream: str, whip: str) -> None:
    location, other = met(post(server, whip)), server.open()
    assert refusal(server.http.get(location.replace(stream, other))) == (404, "not_found")
    assert refusal(server.http.delete(location.replace("/whip/", "/whep/"))) == (404, "not_found")
    assert server.http.get(location).status_code == 204


async def test_what_is_published_is_the_streams_until_the_client_leaves(server: Server) -> None:
    stream = server.open(grace_s=0)
    async with publisher(server, f"/stream/{stream}/whip") as client:
        await until(lambda: server.show(stream)["frames_in"] >= 2)  # one a second, since nobody looks
        shown = server.show(stream)
        assert (shown["publishers"], shown["width"], shown["height"], shown["state"]) == (1, 320, 240, "live")
        assert server.http.delete(client.location).status_code == 200
        await until(lambda: server.http.get(f"/stream/{stream}").status_code == 404)
        assert server.http.get(f"/stream/{stream}").json()["reason"] == "last_client_left"


async def test_deleting_the_stream_ends_the_peer(server: Server, stream: str) -> None:
    async with publisher(server, f"/stream/{stream}/whip") as client:
        await until(lambda: server.show(stream)["frames_in"])
        assert server.http.delete(f"/stream/{stream}").status_code == 204
        await until(lambda: client.pc.connectionState in ("closed", "failed"))
    assert refusal(server.http.get(client.location)) == (404, "session_ended")


# --- credentials -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("guarded"), **LOOPBACK, AUTH_TOKEN=TOKEN) as running_server:
        keep(running_server, **bearer(TOKEN))
        yield running_server


@pytest.fixture
def opened(guarded: Server) -> dict[str, Any]:
    found: dict[str, Any] = guarded.http.post("/stream/request", json={"analyzers": []}, headers=bearer(TOKEN)).json()
    return found


def test_a_token_in_the_path_stands_in_the_location_too(guarded: Server, opened: dict[str, Any]) -> None:
    assert opened["whip_url"] == f"/stream/{publish_token(opened)}/whip"
    location = met(post(guarded, opened["whip_url"]))
    assert location.startswith(opened["whip_url"] + "/")
    assert guarded.http.delete(location).status_code == 200
    assert location.rpartition("/")[2] not in guarded.log
    assert publish_token(opened) not in guarded.log


def test_a_token_in_the_header_stands_nowhere(guarded: Server, opened: dict[str, Any]) -> None:
    path = f"/stream/{opened['stream_id']}/whip"
    for header in (bearer(publish_token(opened)), basic(publish_token(opened)), bearer(TOKEN)):
        location = met(post(guarded, path, **header))
        assert location.startswith(path + "/")
        assert refusal(guarded.http.delete(location)) == (401, "credential")
        assert guarded.http.delete(location, headers=header).status_code == 200


def test_a_preflight_needs_no_credential(guarded: Server, opened: dict[str, Any]) -> None:
    ask = {"Origin": "http://localhost:5173", "Access-Control-Request-Method": "POST"}
    answer = guarded.http.options(f"/stream/{opened['stream_id']}/whip", headers=ask)
    assert (answer.status_code, answer.headers["Accept-Post"]) == (200, "application/sdp")
    assert refusal(guarded.http.options(f"/stream/{opened['stream_id']}/whip")) == (401, "credential")


def test_who_may_only_view_publishes_nothing(guarded: Server, opened: dict[str, Any]) -> None:
    assert refusal(post(guarded, f"/stream/{view_token(opened)}/whip")) == (403, "scope")
    assert refusal(post(guarded, f"/stream/{opened['stream_id']}/whip")) == (401, "credential")
    answer = post(guarded, f"/stream/{opened['stream_id']}/whip", **basic("guess"))
    assert refusal(answer) == (401, "credential")


def test_taking_the_token_back_ends_the_peer(guarded: Server, opened: dict[str, Any]) -> None:
    token = make(guarded, opened, "publish")
    location = met(post(guarded, token["whip_url"]))
    mine = location.replace(token["token"], opened["stream_id"])
    assert guarded.http.get(mine, headers=bearer(TOKEN)).status_code == 204
    revoke(guarded, token)
    assert refusal(guarded.http.get(mine, headers=bearer(TOKEN))) == (404, "not_found")
