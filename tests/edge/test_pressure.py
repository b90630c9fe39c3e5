"""A real gateway whose memory runs short, which is killed, or whose event loop stands still: what is given up, and when
it is back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.access.door import bearer
from tests.edge.conftest import limits
from tests.pictures import picture
from tests.server import SERVE, Server, eventually, running
from tests.sockets import farewell, framed, pong, socket_to, told

pytestmark = pytest.mark.e2e

HOARDER = '''
"""Holds as many MiB as the frame's number says."""
from gateway import Analyzer, Result, hookimpl

held = []

class Hoarder(Analyzer):
    name = "hoarder"

    def analyze(self, frame, memory):
        while len(held) < frame.seq:
            held.append(b"x" * 2**20)
        return Result()

@hookimpl
def register_analyzers():
    return [Hoarder]
'''
LIMIT_MB = 1500
ACTIONS = ("refuse_streams", "rest_analyzers", "disconnect_viewers")


# --- memory ----------------------------------------------------------------------------------------------------------


def active(server: Server) -> list[str]:
    return [name for name in ACTIONS if server.metric("framegate_overload_action_active", action=name)]


class Camera:
    """Sends frames whose number makes the plugin hold so much that the gateway is at a share of its memory."""

    def __init__(self, server: Server, stream_id: str, socket: Any) -> None:
        self._server, self._stream_id, self._socket, self._holds = server, stream_id, socket, 0

    def fill(self, share: float) -> list[str]:
        """The actions in effect once the gateway has seen it."""
        used = self._server.metric("framegate_memory_bytes") / 2**20
        self._holds += max(1, round(share * LIMIT_MB - used))
        self._socket.send(framed(picture("red"), self._holds))
        told(self._socket, "ack")
        eventually(lambda: self._server.metric("framegate_memory_bytes") / 2**20 > (share - 0.02) * LIMIT_MB)
        return active(self._server)


@pytest.mark.slow
def test_what_is_given_up_when_memory_runs_short_is_given_back_afterwards(tmp_path: Path) -> None:
    """Admitted load grows to its limit: new streams are refused, analyzers rest, the newest viewer goes."""
    (tmp_path / "hoarder.py").write_text(HOARDER)
    settings = {
        "FRAMEGATE_PLUGINS": json.dumps([str(tmp_path / "hoarder.py")]),
        **limits(MEMORY_MB=str(LIMIT_MB), OVERLOAD_KEEP='["hoarder"]'),
    }
    with running(tmp_path / "home", **settings) as server:
        stream_id = server.open(analyzers=["hoarder", "motion"])
        eventually(lambda: {item["state"] for item in server.show(stream_id)["analyzers"]} == {"ready"})
        with (
            socket_to(server, stream_id, subprotocols=["framegate.v1"]) as socket,
            socket_to(server, stream_id, "?frames=binary") as oldest,
            socket_to(server, stream_id, "?frames=binary") as newest,
        ):
            camera = Camera(server, stream_id, socket)
            assert camera.fill(0.6) == []  # what the models take is there by now
            assert camera.fill(0.85) == list(ACTIONS[:1])
            refused = server.http.post("/stream/request", json={"analyzers": []})
            assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
            assert 1 <= int(refused.headers["retry-after"]) <= 30
            assert camera.fill(0.925) == list(ACTIONS[:2])
            camera.fill(0.93)
            eventually(lambda: server.show(stream_id)["dropped"]["analysis"].get("overloaded"))
            assert pong(newest) is not None
            assert camera.fill(0.98) == list(ACTIONS)
            assert farewell(newest)[1:] == (1013, "overloaded")
            assert farewell(oldest)[1:] == (1013, "overloaded")
            assert told(socket, "status")["publishers"] == 1, "who publishes stays"
            hungry = max(server.children(), key=lambda child: child.memory_info().rss)
            hungry.kill()
            eventually(lambda: active(server) == [])
            server.open()
        assert server.metric("framegate_rejected_total", code="overloaded") == 3
        assert [
            line for line in ACTIONS if f"{line} begins" not in server.log or f"{line} ends" not in server.log
        ] == []
        assert server.process.poll() is None
        assert "Traceback" not in server.log


# --- kill -9 ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_gateway_that_is_killed_while_it_starts_leaves_nothing_half_done(tmp_path: Path) -> None:
    """It makes a secret and a certificate at the first start, and is killed as soon as the next file is there."""
    home, command = tmp_path / "data", (*SERVE, "--tls")
    environment = {**os.environ, "FRAMEGATE_AUTH": "required", "FRAMEGATE_HOME": str(home)}
    for moment in (home, home / "secrets", home / "secrets" / "auth_token", home / "tls", home / "tls" / "key.pem"):
        with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
            eventually(moment.exists)
            process.kill()
    with running(tmp_path, command=command, FRAMEGATE_AUTH="required") as server:
        token = (home / "secrets" / "auth_token").read_text().strip()
        asked = [server.http.get("/status", headers=headers).status_code for headers in ({}, bearer(token))]
        assert (asked, len(token) >= 16) == ([401, 200], True)
        assert server.url.startswith("https://")


@pytest.mark.slow
def test_a_gateway_that_is_killed_under_load_is_back_at_once_and_owes_nobody(tmp_path: Path) -> None:
    """Its streams are gone, which their clients are told; its workers are gone too, and a new one takes frames."""
    began = time.monotonic()
    with running(tmp_path) as server:
        first_s = time.monotonic() - began
        old = server.open(analyzers=["motion"])
        eventually(lambda: server.show(old)["analyzers"][0]["state"] == "ready")
        with socket_to(server, old) as camera:
            for _ in range(20):
                camera.send(picture("red"))
            children = server.children()
            server.process.kill()
            server.process.wait()
    killed = time.monotonic()
    with running(tmp_path) as server:
        assert time.monotonic() - killed < 3 * first_s
        assert server.http.get(f"/stream/{old}").json()["code"] == "not_found"
        assert server.push(server.open(), picture("blue"))["seq"] == 0
        assert psutil.wait_procs(children, timeout=5)[1] == []


# --- an event loop that stands still ---------------------------------------------------------------------------------

HANGS = """
import signal, sys, time
from gateway.cli import main

def block_the_loop(*_):
    time.sleep(1.5)

signal.signal(signal.SIGUSR1, block_the_loop)
sys.argv = ["framegate", "serve", "--port", "0"]
sys.exit(main())
"""


@pytest.mark.slow
def test_a_gateway_that_stands_still_says_where_and_is_degraded_for_a_while(tmp_path: Path) -> None:
    settings = limits(HANG_S="0.5", DEGRADED_S="2")
    with running(tmp_path, command=(sys.executable, "-c", HANGS), **settings) as server:
        assert server.http.get("/health").json()["status"] == "ok"
        server.process.send_signal(signal.SIGUSR1)
        eventually(lambda: server.http.get("/health").json()["status"] == "degraded")
        assert server.metric("framegate_event_loop_hangs_total") == 1
        assert 1.0 < server.metric("framegate_event_loop_lag_seconds") < 10
        reports = [line for line in server.log.splitlines() if "stands still" in line]
        assert len(reports) == 1
        assert "block_the_loop" in json.loads(reports[0])["event"]
        eventually(lambda: server.http.get("/health").json()["status"] == "ok")
