"""Every credential there is, shown in every way there is; then all that the gateway wrote is searched for them."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from websockets.exceptions import InvalidStatus

from tests.access.door import TOKEN, basic, bearer, make, revoke, socket_to
from tests.pictures import picture
from tests.server import PATIENCE_S, Server, running
from tests.sockets import told

pytestmark = pytest.mark.e2e

WRONG = "fgv_a-token-that-never-was-0123456789"


def test_no_credential_gets_into_logs_metrics_or_answers_to_others(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    environment = {
        "FRAMEGATE_LOG__FILE": str(log),
        "FRAMEGATE_LOG__LEVEL": "DEBUG",
        "FRAMEGATE_ACCESS__FAILURES": "999",
    }
    with running(tmp_path, AUTH_TOKEN=TOKEN, **environment) as server:
        secrets, answers = _use_them_all(server)
        written = {
            "log": log.read_text(),
            "output": server.log,
            "metrics": server.http.get("/metrics", headers=bearer(TOKEN)).text,
            "others": "\n".join(answers),
        }
    written["log at the end"] = log.read_text()
    assert len(secrets) == 8
    assert [(name, secret) for name, text in written.items() for secret in secrets if secret in text] == []
    assert "/stream/***/snapshot.jpg" in written["log"]


def _use_them_all(server: Server) -> tuple[set[str], list[str]]:
    """The secrets, and what those were told who are to know none of them."""
    stream = server.http.post("/stream/request", json={"analyzers": []}, headers=bearer(TOKEN)).json()
    named, publish = stream["stream_id"], stream["stream_token"]
    view, made = stream["video_url"].rpartition("/")[2], make(server, stream, "view")
    ticket = server.http.post("/auth/ticket", json={"stream_id": named}, headers=bearer(TOKEN)).json()["ticket"]
    server.http.post("/login", data={"token": TOKEN})
    server.http.get(stream["viewer_url"])
    cookies = {cookie.value for cookie in server.http.cookies.jar}
    server.http.cookies.clear()
    answers = [
        server.http.get(path, headers={**headers, "Accept": accept}).text
        for path in (f"/stream/{WRONG}/snapshot.jpg", f"/status?token={TOKEN}", f"/stream/{named}", f"/viewer/{WRONG}")
        for headers in ({}, bearer(WRONG), basic(TOKEN + "x"))
        for accept in ("*/*", "text/html")
    ]
    answers.append(server.http.get(f"/stream/{named}/tokens", headers=bearer(TOKEN)).text)
    answers += [server.http.get(f"/stream/{secret}/no-such-thing").text for secret in (view, publish)]
    for place in (publish, view, made["token"], ticket, WRONG):
        _speak(server, place)
    server.http.post(f"/stream/{publish}/frame", content=b"no picture")
    server.http.post(f"/stream/{publish}/frame", content=picture("red"))
    for secret in (view, made["token"]):
        with (
            httpx2.Client(base_url=server.url, timeout=PATIENCE_S) as http,
            http.stream("GET", f"/stream/video/{secret}") as video,
        ):
            next(video.iter_raw())
    revoke(server, made)
    return {TOKEN, WRONG, publish, view, made["token"], ticket, *cookies}, answers


def _speak(server: Server, place: str) -> None:
    try:
        with socket_to(server, place) as socket:
            told(socket, "hello")
            socket.send("not json")
            socket.send('{"type":"frame","image":"!!!"}')
            told(socket, "error")
    except InvalidStatus:
        if place != WRONG:
            raise
