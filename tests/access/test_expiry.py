"""A login whose time is over ends what was opened by it, though nobody asks for anything; and an end is told once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.types import Message, Receive, Scope, Send

from gateway.access import Access
from gateway.app import create_app
from gateway.credentials import Credentials, Login
from gateway.settings import Settings
from tests.access.door import TOKEN, bearer, socket_to
from tests.pictures import picture
from tests.server import PATIENCE_S, Server, running
from tests.sockets import farewell, told

LIFE_S = 2


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway whose logins are soon over."""
    with running(tmp_path_factory.mktemp("brief"), AUTH_TOKEN=TOKEN, FRAMEGATE_ACCESS__LOGIN_S=str(LIFE_S)) as server:
        yield server


@pytest.fixture
def browser(brief: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=brief.url, timeout=PATIENCE_S, trust_env=False) as http:
        yield http


def log_in(http: httpx2.Client) -> dict[str, str]:
    """The headers that the browser's own page sends."""
    http.post("/login", data={"token": TOKEN})
    cookies = "; ".join(f"{name}={value}" for name, value in http.cookies.items())
    return {"Cookie": cookies, "Origin": str(http.base_url).rstrip("/")}


@pytest.mark.e2e
def test_a_login_that_expires_closes_its_sockets_and_ends_its_video(brief: Server, browser: httpx2.Client) -> None:
    stream = brief.http.post("/stream/request", json={"analyzers": []}, headers=bearer(TOKEN)).json()
    brief.http.post(f"/stream/{stream['stream_token']}/frame", content=picture("red"))
    began, headers = time.monotonic(), log_in(browser)
    ticket = browser.post("/api/auth/ticket", headers=headers).json()["protocol"]
    with (
        socket_to(brief, stream["stream_id"], additional_headers=headers) as socket,
        socket_to(brief, stream["stream_id"], subprotocols=["framegate.v1", ticket]) as by_ticket,
        socket_to(brief, stream["stream_token"]) as other,
        browser.stream("GET", f"/stream/video/{stream['stream_id']}") as video,
    ):
        told(socket, "hello")
        ends = [farewell(socket)[1:], farewell(by_ticket)[1:]]
        for _ in video.iter_raw():  # to its end: a cut would raise
            pass
        assert (ends, time.monotonic() - began >= LIFE_S) == ([(4401, "expired")] * 2, True)
        other.send('{"type":"ping"}')
        assert told(other, "pong")
    assert browser.get("/status", headers=headers).status_code == 401


async def nothing() -> Message:
    raise AssertionError("nothing is received")


async def test_a_connection_that_loses_two_credentials_at_once_is_cut_once(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    held = [Login("admin", expires_at=1e9), Login(None, expires_at=1e9)]
    credentials = Credentials(settings.access, None, live=(), clock=lambda: 0.0)
    inside = asyncio.Event()
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        inside.set()
        await asyncio.Event().wait()

    async def send(message: Message) -> None:
        sent.append(message)

    access = Access(app, api=create_app(settings), settings=settings, credentials=credentials)
    scope: Scope = {"type": "websocket"}
    serving = asyncio.create_task(access._serve(held, scope, nothing, send))
    await inside.wait()
    for login in held:
        login.revoke()
    await serving
    assert sent == [{"type": "websocket.close", "code": 4401, "reason": "revoked"}]
    assert (serving.cancelling(), [login.holders for login in held]) == (0, [set(), set()])


def test_what_is_told_of_it_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    row: Any = next(line for line in page.splitlines() if line.startswith("| 4401 "))
    assert "expired" in row
