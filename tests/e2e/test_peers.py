"""Peers that stop, crawl or vanish, before a real server: what it costs them, and what nobody else."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.pictures import picture
from tests.server import Server, eventually, running
from tests.sockets import farewell, framed, pong, shown, socket_to, told
from tests.wire import Reader

pytestmark = pytest.mark.e2e

WATCHER = """
import sys, websockets.sync.client
with websockets.sync.client.connect(sys.argv[1], proxy=None, max_size=None) as socket:
    print(socket.recv(), flush=True)
    for message in socket:
        pass
"""
CAMERA = """
import sys, time, websockets.sync.client
with websockets.sync.client.connect(sys.argv[1], proxy=None) as socket:
    while True:
        socket.send(open(sys.argv[2], "rb").read())
        print("sent", flush=True)
        time.sleep(0.1)
"""


@cache
def noise() -> bytes:
    """A picture of some 700 KB, so that buffers fill quickly."""
    return cv2.imencode(".jpg", np.random.default_rng(1).integers(0, 255, (720, 1280, 3), np.uint8))[1].tobytes()


@contextmanager
def stopped(program: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A client of its own process that has said or heard something and then is stopped."""
    with subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            process.send_signal(signal.SIGSTOP)
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_sigterm_with_stopped_peers_ends_with_0_in_time_and_tells_who_is_there(tmp_path: Path) -> None:
    with running(tmp_path) as server, ExitStack() as peers:
        stream_id = server.open()
        url = f"{server.ws}/ws/stream/{stream_id}?frames=binary"
        for _ in range(3):
            peers.enter_context(stopped(WATCHER, url))
        for path in (
            f"/stream/video/{stream_id}",
            f"/stream/video/{stream_id}?width=640",
            f"/stream/{stream_id}/events",
        ):
            peers.enter_context(Reader(server, path, receive_buffer=4096))
        live = [peers.enter_context(socket_to(server, stream_id, max_size=None)) for _ in range(5)]
        for _ in range(6):
            live[0].send(noise())
            pong(live[0])
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        for client in live:
            heard, code, reason = farewell(client)
            assert (heard[-1]["type"], code, reason) == ("bye", 1012, "shutdown")
            assert 500 <= heard[-1]["retry_ms"] <= 2500
        assert server.process.wait(10) == 0
        assert time.monotonic() - began < 10
        assert "Traceback" not in server.log


@pytest.mark.slow
def test_a_publisher_whose_line_is_dead_leaves_a_stale_stream_that_ends_once(tmp_path: Path) -> None:
    file = tmp_path / "red.jpg"
    file.write_bytes(picture("red"))
    limits = {"FRAMEGATE_LIMITS__PUBLISHER_SILENCE_S": "4", "FRAMEGATE_STREAM__STALE_S": "1"}
    with running(tmp_path / "home", **limits) as server:
        stream_id = server.open(grace_s=1)
        with stopped(CAMERA, f"{server.ws}/ws/stream/{stream_id}", str(file)):
            assert eventually(lambda: server.show(stream_id)["state"] == "stale", within_s=4)
            assert server.show(stream_id)["publishers"] == 1
            gone = eventually(
                lambda: server.http.get(f"/stream/{stream_id}").status_code == 404 and time.monotonic(), within_s=12
            )
            assert gone
        assert server.http.get(f"/stream/{stream_id}").json()["reason"] == "last_client_left"
        assert server.log.count(f"{stream_id}: ended") == 1
        assert server.metric("framegate_viewers") == 0


def test_a_cut_publisher_goes_on_where_it_was_with_its_resume_token(server: Server) -> None:
    stream_id = server.open()
    with (
        socket_to(server, stream_id, "?frames=binary") as viewer,
        socket_to(server, stream_id, subprotocols=["framegate.v1"]) as first,
    ):
        token = told(first, "hello")["resume_token"]
        first.send(framed(picture("red"), 41))
        assert told(first, "ack")["seq"] == shown(viewer).seq == 41
        first.socket.shutdown(socket.SHUT_RDWR)
        with socket_to(server, stream_id, subprotocols=["framegate.v1"]) as second:
            assert told(second, "hello")["next_seq"] == 42
            second.send(json.dumps({"type": "hello", "resume": token}))
            second.send(framed(picture("blue"), 42))
            assert told(second, "ack")["seq"] == shown(viewer).seq == 42


@pytest.mark.slow
def test_a_viewer_that_crawls_is_thinned_and_never_cut(tmp_path: Path) -> None:
    """Each of its pictures takes several times longer than a viewer may stall; one that stands still is cut."""
    with running(tmp_path, FRAMEGATE_LIMITS__VIEWER_STALL_S="2", FRAMEGATE_LIMITS__SEND_BUFFER_BYTES="16384") as server:
        stream_id, over = server.open(), threading.Event()
        with (
            socket_to(server, stream_id, subprotocols=["framegate.v1"]) as camera,
            Reader(server, f"/stream/video/{stream_id}", receive_buffer=32768) as crawler,
            Reader(server, f"/stream/video/{stream_id}", receive_buffer=32768),
        ):

            def publish() -> None:
                for seq in range(10_000):
                    camera.send(framed(noise(), seq))
                    told(camera, "ack")
                    if over.wait(0.1):
                        return

            sender = threading.Thread(target=publish)
            sender.start()
            try:
                began, taken = time.monotonic(), 0
                while time.monotonic() - began < 12:
                    taken += len(crawler._socket.recv(8192))
                    over.wait(0.05)
                assert 0 < taken < 4 * len(noise()), "it was no crawler"
                assert server.show(stream_id)["viewers"] == 1, "the other one stood still"
            finally:
                over.set()
                sender.join()
