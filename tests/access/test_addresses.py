"""The addresses that are given out: below the base path, and only those that a credential is good for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.access.door import TOKEN, bearer, publish_token, view_token
from tests.server import Server, running
from tests.sockets import told

pytestmark = pytest.mark.e2e

BASE = "/cams"


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway behind a proxy that shows it at a path."""
    with running(tmp_path_factory.mktemp("below"), AUTH_TOKEN=TOKEN, FRAMEGATE_BASE_PATH=BASE) as server:
        yield server


@pytest.fixture
def stream(below: Server) -> dict[str, Any]:
    found: dict[str, Any] = below.http.post(
        f"{BASE}/stream/request", json={"analyzers": []}, headers=bearer(TOKEN)
    ).json()
    return found


def addresses(publish: str | None, view: str) -> dict[str, str | None]:
    return {
        "websocket_url": f"{BASE}/ws/stream/{publish or view}",
        "video_url": f"{BASE}/stream/video/{view}",
        "viewer_url": f"{BASE}/viewer/{view}",
        "snapshot_url": f"{BASE}/stream/{view}/snapshot.jpg",
        "events_url": f"{BASE}/stream/{view}/events",
        "whip_url": f"{BASE}/stream/{publish}/whip" if publish else None,
        "whep_url": f"{BASE}/stream/{view}/whep",
    }


def test_the_addresses_of_a_stream_begin_with_the_base_path(stream: dict[str, Any]) -> None:
    told = addresses(publish_token(stream), view_token(stream))
    assert {name: stream[name] for name in told} == told


def test_the_six_keys_of_older_clients_come_first(stream: dict[str, Any]) -> None:
    six = ["stream_token", "stream_id", "video_uuid", "video_id", "websocket_url", "status"]
    assert list(stream)[:6] == six


@pytest.mark.parametrize("scope", ["view", "publish"])
def test_a_token_comes_with_the_addresses_it_is_good_for(below: Server, stream: dict[str, Any], scope: str) -> None:
    path = f"{BASE}/stream/{stream['stream_id']}/tokens"
    made = below.http.post(path, json={"scope": scope}, headers=bearer(TOKEN)).json()
    told = addresses(made["token"] if scope == "publish" else None, made["token"])
    assert {name: made[name] for name in told} == told
    assert below.http.get(made["events_url"].replace("/events", "")).status_code == 200


def test_the_address_of_a_ticket_opens_a_socket_below_the_base_path(below: Server, stream: dict[str, Any]) -> None:
    wish = {"stream_id": stream["stream_id"]}
    given = below.http.post(f"{BASE}/api/auth/ticket", json=wish, headers=bearer(TOKEN)).json()
    assert given["websocket_url"] == f"{BASE}/ws/stream/{given['ticket']}"
    with connect(below.ws + given["websocket_url"], proxy=None, close_timeout=2) as socket:
        assert told(socket, "hello")["stream_id"] == stream["stream_id"]
