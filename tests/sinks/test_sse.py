"""Results and events as server-sent events of a real server, read by curl and by bytes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.pictures import picture
from tests.server import Server, eventually
from tests.sockets import socket_to
from tests.wire import Reader

pytestmark = pytest.mark.e2e


def test_curl_reads_results_as_named_events(server: Server) -> None:
    stream_id = server.open(analyzers=["motion"])
    eventually(lambda: server.show(stream_id)["analyzers"][0]["state"] == "ready")
    url = f"{server.url}/stream/{stream_id}/events?topics=results"
    with subprocess.Popen(["curl", "-sN", url], stdout=subprocess.PIPE) as curl:
        assert curl.stdout is not None
        assert [curl.stdout.readline(), curl.stdout.readline()] == [b": framegate\n", b"\n"]
        server.push(stream_id, picture("red"))
        event, data, blank = (curl.stdout.readline() for _ in range(3))
        curl.terminate()
    assert (event, blank) == (b"event: result\n", b"\n")
    result = json.loads(data.removeprefix(b"data: "))
    assert (result["type"], result["stream_id"], result["seq"]) == ("result", stream_id, 0)
    assert result["analyzers"]["motion"]["state"] == "ready"


@contextmanager
def events(server: Server, stream_id: str, query: str = "") -> Iterator[Reader]:
    with Reader(server, f"/stream/{stream_id}/events{query}") as answer:
        assert answer.until(b"\n\n") == b": framegate\n\n"
        yield answer


def event_of(answer: Reader) -> tuple[str, dict[str, Any]]:
    name, data = answer.until(b"\n\n")[:-2].split(b"\n")
    return name.decode().removeprefix("event: "), json.loads(data.removeprefix(b"data: "))


def test_the_answer_is_an_event_stream_nobody_keeps(server: Server) -> None:
    with events(server, server.open()) as answer:
        assert answer.status_line == "HTTP/1.1 200 OK"
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-store", "no")


def test_a_new_reader_is_told_the_state_of_the_stream(server: Server) -> None:
    stream_id = server.open()
    with events(server, stream_id) as answer:
        name, status = event_of(answer)
    assert (name, status["type"], status["stream_id"], status["state"]) == ("status", "status", stream_id, "waiting")


def test_topics_choose_what_comes(server: Server) -> None:
    stream_id = server.open()
    with events(server, stream_id, "?topics=messages") as answer, socket_to(server, stream_id) as camera:
        server.push(stream_id, picture("red"))
        camera.send('{"type":"message","data":"line\\nbreak"}')
        assert event_of(answer) == ("message", {"type": "message", "data": "line\nbreak"})


def test_an_unknown_topic_is_refused_by_name(server: Server) -> None:
    answer = server.http.get(f"/stream/{server.open()}/events", params={"topics": "results,weather"})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_option")
    assert "weather" in answer.json()["detail"]


def test_the_end_of_the_stream_is_the_last_event(server: Server) -> None:
    stream_id = server.open()
    with events(server, stream_id, "?topics=events") as answer:
        server.http.delete(f"/stream/{stream_id}")
        assert event_of(answer) == ("bye", {"type": "bye", "reason": "deleted"})
        assert answer.rest() == b""


def test_who_leaves_is_no_viewer_any_more(server: Server) -> None:
    stream_id = server.open()
    with events(server, stream_id):
        assert server.show(stream_id)["viewers"] == 1
    eventually(lambda: server.show(stream_id)["viewers"] == 0)
