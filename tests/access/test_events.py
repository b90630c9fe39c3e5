"""Pictures and clips of an event: who may see its stream may see them, and nobody else learns that it is there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.access.door import TOKEN, bearer, publish_token, view_token
from tests.pictures import picture
from tests.server import Server, eventually, running
from tests.sockets import socket_to, told

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ALWAYS = """
from gateway import Analyzer, Result, Sighting, hookimpl

class Always(Analyzer):
    name = "always"

    def analyze(self, frame, memory):
        return Result(sightings=(Sighting("always", linger_s=60),))

@hookimpl
def register_analyzers():
    return [Always]
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("guarded")
    (home / "always.py").write_text(ALWAYS)
    settings = {"AUTH_TOKEN": TOKEN, "FRAMEGATE_PLUGINS": json.dumps([str(home / "always.py")])}
    with running(home, **settings, FRAMEGATE_CLIPS__PRE_S="0.2", FRAMEGATE_CLIPS__MOST_S="1") as server:
        yield server


def opened(server: Server) -> dict[str, Any]:
    answer = server.http.post("/stream/request", json={"analyzers": ["always"]}, headers=bearer(TOKEN))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def event_of(server: Server, stream: dict[str, Any]) -> str:
    """The stream's event, once its clip is made."""
    headers = bearer(publish_token(stream))
    with socket_to(server, stream["stream_id"], additional_headers=headers) as viewer:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            server.http.post(f"/stream/{stream['stream_id']}/frame", content=picture("red"), headers=headers)
            time.sleep(0.05)
        found = told(viewer, "event")
    url = f"/events/{found['id']}/clip.mp4"
    eventually(lambda: server.http.get(url, headers=bearer(TOKEN)).status_code == 200)
    return str(found["id"])


def test_an_events_files_are_for_who_may_see_its_stream(guarded: Server) -> None:
    stream, other = opened(guarded), opened(guarded)
    event_id = event_of(guarded, stream)

    def answers(**how: Any) -> list[tuple[int, str | None]]:
        places = [f"{root}/events/{event_id}/{file}" for root in ("", "/api") for file in ("snapshot.jpg", "clip.mp4")]
        found = [guarded.http.get(place, **how) for place in places]
        return [(one.status_code, None if one.status_code == 200 else one.json()["code"]) for one in found]

    seen, unknown, stranger = [(200, None)] * 4, [(404, "not_found")] * 4, [(401, "credential")] * 4
    for secret in (TOKEN, view_token(stream), publish_token(stream)):
        assert answers(headers=bearer(secret)) == seen
        assert answers(auth=httpx2.BasicAuth("vlc", secret)) == seen
    for secret in (view_token(other), publish_token(other)):
        assert answers(headers=bearer(secret)) == unknown
    assert answers() == stranger
    assert answers(headers=bearer("neither-this-nor-that-0123456789")) == stranger


def test_nobody_can_tell_another_streams_event_from_none(guarded: Server) -> None:
    stream, other = opened(guarded), opened(guarded)
    event_id = event_of(guarded, stream)

    def told_of(event: str) -> dict[str, Any]:
        answer = guarded.http.get(f"/events/{event}/clip.mp4", headers=bearer(view_token(other)))
        return {**answer.json(), "request_id": None}

    assert told_of(event_id) == told_of("0" * 32)
