"""Who needs a credential: nobody on this machine as long as it is open, and everybody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.access import is_open
from gateway.settings import Settings
from tests.access.door import TOKEN, bearer
from tests.server import PATIENCE_S, Server, running
from tests.sockets import socket_to, told


@pytest.mark.parametrize(
    ("wish", "open_"),
    [
        ({}, True),
        ({"host": "localhost"}, True),
        ({"host": "127.0.0.2"}, True),
        ({"host": "::1"}, True),
        ({"host": "0.0.0.0"}, False),
        ({"host": "::"}, False),
        ({"host": "192.0.2.1"}, False),
        ({"host": "localhost.example.org"}, False),
        ({"auth": "required"}, False),
        ({"auth_token": TOKEN}, False),
    ],
)
def test_only_a_loopback_address_without_a_token_is_open(wish: dict[str, Any], open_: bool) -> None:
    assert is_open(Settings(**wish)) is open_


@pytest.mark.e2e
@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "192.0.2.1"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"X-Forwarded-Host": "localhost"},
        {"X-Forwarded-Proto": "https"},
        {"X-Real-IP": "127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"Host": "192.0.2.1"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_a_caller_that_comes_by_a_proxy_or_another_name_needs_a_credential(
    server: Server, headers: dict[str, str]
) -> None:
    asked = {path: server.http.get(path, headers=headers).status_code for path in ("/status", "/viewer", "/health")}
    assert asked == {"/status": 401, "/viewer": 401, "/health": 200}


@pytest.mark.e2e
@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1", "[::1]:80", "cam.localhost", "LOCALHOST."])
def test_a_caller_of_this_machine_needs_none(server: Server, host: str) -> None:
    assert server.http.get("/status", headers={"Host": host}).status_code == 200


@pytest.mark.e2e
def test_a_stale_credential_harms_nobody_in_open_mode(server: Server) -> None:
    answer = server.http.get("/status", headers=bearer("left over from another gateway"))
    assert answer.status_code == 200
    assert server.http.get("/api/auth/me").json() == {
        "id": "local",
        "username": "local",
        "role": "operator",
        "streams": [],
        "csrf_token": None,
    }


@pytest.mark.e2e
def test_an_open_gateway_hands_out_links_that_hold_elsewhere(server: Server) -> None:
    """Who comes by a proxy has a name that the gateway knows, and sees this stream and nothing else."""
    stream_id = server.open()
    made = server.http.post(f"/stream/{stream_id}/tokens", json={"scope": "view"}).json()
    foreign = {"X-Forwarded-For": "192.0.2.1"}
    assert server.http.get(f"/stream/{made['token']}", headers=foreign).json()["stream_id"] == stream_id
    assert server.http.get(f"/stream/{stream_id}", headers=foreign).status_code == 401
    assert server.http.post(f"/stream/{made['token']}/frame", content=b"").status_code == 403
    with socket_to(server, made["token"], additional_headers=foreign) as viewer:
        assert told(viewer, "hello")["stream_id"] == stream_id


@pytest.mark.e2e
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example"])
def test_a_foreign_page_cannot_make_this_machine_do_anything(server: Server, origin: str) -> None:
    stream_id = server.open()
    for method, path in (("POST", "/stream/request"), ("DELETE", f"/stream/{stream_id}"), ("POST", "/auth/ticket")):
        answer = server.http.request(method, path, headers={"Origin": origin})
        assert (answer.status_code, answer.json()["code"]) in ((403, "csrf"), (403, "origin"))
    assert server.show(stream_id)["state"] == "waiting"
    assert server.http.post("/stream/request", headers={"Origin": "http://localhost:3000"}).status_code == 200


@pytest.mark.slow
@pytest.mark.e2e
def test_guessing_is_slowed_down_and_who_knows_a_streams_token_is_not(tmp_path: Path) -> None:
    with running(tmp_path, AUTH_TOKEN=TOKEN, FRAMEGATE_ACCESS__FAILURES="5") as server:
        stream = server.http.post("/stream/request", json={"analyzers": []}, headers=bearer(TOKEN)).json()
        statuses = [server.http.get("/status", headers=bearer(f"guess-{n}")).status_code for n in range(7)]
        assert statuses == [401] * 5 + [429] * 2
        answer = server.http.get("/status", headers=bearer(TOKEN))  # even the right one, or guessing would tell
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_attempts")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        page = server.http.post("/login", data={"token": TOKEN})
        assert (page.status_code, page.headers["retry-after"].isdigit()) == (429, True)
        assert server.http.get(stream["snapshot_url"]).status_code == 503  # no picture yet: it was let in
        assert [server.http.get(path).status_code for path in ("/health", "/ready", "/status")] == [200, 200, 401]


@pytest.mark.slow
@pytest.mark.e2e
def test_a_bare_uvicorn_on_another_address_lets_nobody_in(tmp_path: Path) -> None:
    """Its settings still say loopback; the socket says something else."""
    import socket
    import sys

    address = _own_address()
    with socket.socket() as probe:
        probe.bind((address, 0))
        port = probe.getsockname()[1]
    command = (sys.executable, "-m", "uvicorn", "gateway.app:app", "--host", address, "--port", str(port))
    with running(tmp_path, command=command, url=f"http://{address}:{port}") as server:
        assert server.http.get("/status").status_code == 401
        with httpx2.Client(base_url=server.url, timeout=PATIENCE_S, headers={"Host": f"localhost:{port}"}) as http:
            assert http.get("/status").status_code == 401
        server.process.terminate()  # uvicorn's own end is not with 0
        server.process.wait(20)


def _own_address() -> str:
    from gateway.tls import own_addresses

    found = [address for address in own_addresses() if ":" not in address]
    if not found:
        pytest.skip("this machine has no address but loopback")
    return found[0]
