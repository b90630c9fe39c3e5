"""The gateway as a process: what it maps, how it ends, and what a client that takes nothing costs the others."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from tests.pictures import data_url, picture
from tests.server import SERVE, Server, eventually, running
from tests.sockets import farewell, pong, shown, socket_to, told
from tests.wire import Reader

pytestmark = pytest.mark.e2e

NATIVE = ("cv2", "libav", "/av/", "onnxruntime", "torch")
PLAIN = """
import sys, websockets.sync.client
with websockets.sync.client.connect(sys.argv[1], proxy=None) as socket:
    print(socket.recv(), flush=True)
    for message in socket:
        pass
"""


def mapped(pid: int) -> set[str]:
    """Which of the heavy libraries a process has mapped."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return {name for name in NATIVE if any(name in line.partition("/")[2] for line in maps.splitlines())}


def noise() -> bytes:
    """A picture of some 700 KB, so that buffers fill quickly."""
    return cv2.imencode(".jpg", np.random.default_rng(1).integers(0, 255, (720, 1280, 3), np.uint8))[1].tobytes()


def gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


@pytest.mark.slow
def test_the_gateway_itself_maps_no_picture_library_but_its_workers_do(tmp_path: Path, models_dir: str) -> None:
    with running(tmp_path, FRAMEGATE_MODELS_DIR=models_dir) as server:
        stream_id = server.http.post("/stream/request").json()["stream_id"]
        names = [item["name"] for item in server.show(stream_id)["analyzers"]]
        assert names == ["motion", "objects", "tracks", "anomaly", "bags", "faces", "smoking"]
        url = f"/stream/{stream_id}/snapshot.jpg?draw=boxes&width=320"
        with socket_to(server, stream_id) as camera:
            camera.send(data_url(picture("red", (640, 480), "png"), "png"))
            eventually(lambda: _all_ran(server, stream_id, camera), within_s=60)
            assert server.http.get(url).status_code == 200
        assert mapped(server.process.pid) == set()
        workers = [mapped(child.pid) for child in server.children() if not child.children()]  # not their guards
    assert len(workers) == 2  # analyzers, and pictures
    assert set.union(*workers) >= {"cv2", "onnxruntime"}


def _all_ran(server: Server, stream_id: str, camera: object) -> bool:
    camera.send(picture("red", (640, 480)))  # type: ignore[attr-defined]
    return all(item["analyzed"] for item in server.show(stream_id)["analyzers"])


# --- SIGTERM ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_sigterm_tells_every_client_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        stream_id = server.open(analyzers=["motion"])
        with (
            socket_to(server, stream_id) as camera,
            socket_to(server, stream_id) as viewer,
            Reader(server, f"/stream/video/{stream_id}") as mjpeg,
            Reader(server, f"/stream/video/{stream_id}?draw=boxes") as drawn,
            Reader(server, f"/stream/{stream_id}/events") as events,
            subprocess.Popen(
                [sys.executable, "-c", PLAIN, f"{server.ws}/ws/stream/{stream_id}?frames=binary"],
                stdout=subprocess.PIPE,
            ) as stopped,
        ):
            assert stopped.stdout is not None
            assert b"hello" in stopped.stdout.readline()
            stopped.send_signal(signal.SIGSTOP)
            camera.send(picture("red"))
            mjpeg.take(9)
            mjpeg.part()
            drawn.take(9)
            children = server.children()
            assert len(children) >= 1
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            for client in (camera, viewer):
                heard, code, reason = farewell(client)
                bye = heard[-1]
                assert 500 <= bye.pop("retry_ms") <= 2500
                assert (bye, code, reason) == ({"type": "bye", "reason": "shutdown"}, 1012, "shutdown")
            mjpeg.rest()
            drawn.rest()
            assert b'event: bye\ndata: {"type":"bye","reason":"shutdown"' in events.rest()
            assert server.process.wait(10) == 0
            assert time.monotonic() - began < 10
            stopped.send_signal(signal.SIGCONT)
            stopped.kill()
        eventually(lambda: gone(children), within_s=1)
        assert "Traceback" not in server.log


@pytest.mark.slow
def test_while_draining_nobody_is_let_in(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        stream_id = server.open()
        with socket_to(server, stream_id) as viewer:
            told(viewer, "hello")
            server.process.send_signal(signal.SIGTERM)
            farewell(viewer)
        with pytest.raises(OSError, match="refused"):
            eventually(lambda: socket.create_connection(server.address, timeout=1).close())
        assert server.process.wait(10) == 0


def test_a_signal_during_the_start_is_not_lost(tmp_path: Path) -> None:
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            SERVE, cwd=tmp_path, env={**os.environ, "FRAMEGATE_HOME": str(tmp_path)}, stderr=log
        ) as process,
    ):
        eventually(lambda: "Started server process" in (tmp_path / "log").read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.mark.slow
def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        stream_id = server.open()
        with (
            Reader(
                server, f"/stream/video/{stream_id}", receive_buffer=4096
            ),  # takes nothing: uvicorn would wait for it
            socket_to(server, stream_id) as camera,
        ):
            for _ in range(5):
                camera.send(noise())
            pong(camera)
            children = server.children()
            server.process.send_signal(signal.SIGTERM)
            farewell(camera)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(1) == -signal.SIGTERM
        eventually(lambda: gone(children), within_s=5)


@pytest.mark.slow
def test_kill_9_leaves_no_child(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        stream_id = server.open(analyzers=["motion"])
        server.push(stream_id, picture("red"), wait=1)
        assert server.http.get(f"/stream/{stream_id}/snapshot.jpg?width=320").status_code == 200
        children = server.children()
        assert len(children) == 4  # an analyzer worker and the picture worker, each behind its guard
        server.process.kill()
        server.process.wait()
        eventually(lambda: gone(children), within_s=5)


@pytest.mark.slow
def test_a_worker_that_dies_is_started_again_and_the_streams_live_on(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        stream_id = server.open(analyzers=["motion"])
        eventually(lambda: server.show(stream_id)["analyzers"][0]["state"] == "ready")
        with socket_to(server, stream_id, "?frames=binary") as viewer:
            server.push(stream_id, picture("red"), wait=1)
            assert shown(viewer).seq == 0
            for child in server.children():
                child.kill()
            server.push(stream_id, picture("red"))
            assert shown(viewer).seq == 1
            eventually(
                lambda: server.push(stream_id, picture("red"), wait=1)["analyzers"]["motion"]["state"] == "ready"
            )
        assert server.metric("framegate_worker_restarts_total", worker="framegate") == 1
        assert server.http.get(f"/stream/{stream_id}/snapshot.jpg?width=320").status_code == 200


@pytest.mark.slow
def test_a_picture_worker_that_dies_costs_one_picture_and_no_stream(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        stream_id = server.open()
        server.push(stream_id, picture("red"))
        url = f"/stream/{stream_id}/snapshot.jpg?width=320"
        before = {child.pid for child in server.children()}
        assert server.http.get(url).status_code == 200
        new = [child for child in server.children() if child.pid not in before]
        (painter,) = (child for child in new if not child.children())
        assert [child.pid for child in new if child.children()] == [painter.ppid()]  # its guard
        painter.kill()
        assert server.http.get(url).status_code == 200  # that one is made already
        other = url.replace("320", "640")
        assert [server.http.get(other).status_code for _ in range(2)] == [503, 200]
        assert server.show(stream_id)["state"] in ("live", "stale")


# --- clients that take nothing ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_stalled_viewer_is_reset_within_12_s_and_the_others_lose_nothing(server: Server) -> None:
    _outlive_stalled_viewers(server, within_s=12)


@pytest.mark.slow
def test_the_gateway_itself_resets_a_stalled_viewer_and_does_not_leave_it_to_the_kernel(tmp_path: Path) -> None:
    with running(tmp_path, FRAMEGATE_LIMITS__VIEWER_STALL_S="1") as server:
        _outlive_stalled_viewers(server, within_s=6)  # the kernel alone would take 10
        assert "Traceback" not in server.log


def _outlive_stalled_viewers(server: Server, within_s: float) -> None:
    stream_id = server.open()
    jpeg = noise()
    with (
        socket_to(server, stream_id, "?frames=binary", max_size=None) as prompt,
        socket_to(server, stream_id, subprotocols=["framegate.v1"]) as camera,
        Reader(server, f"/stream/video/{stream_id}", receive_buffer=4096) as stuck_http,
        subprocess.Popen(
            [sys.executable, "-c", PLAIN, f"{server.ws}/ws/stream/{stream_id}?frames=binary"], stdout=subprocess.PIPE
        ) as stuck_socket,
    ):
        try:
            assert stuck_socket.stdout is not None
            stuck_socket.stdout.readline()
            stuck_socket.send_signal(signal.SIGSTOP)
            camera.send(jpeg)
            assert told(camera, "ack")["seq"] == shown(prompt).seq == 0
            began, sent = time.monotonic(), 1
            while server.show(stream_id)["viewers"] > 1:
                assert time.monotonic() - began < within_s
                camera.send(jpeg)
                assert told(camera, "ack")["seq"] == shown(prompt).seq == sent
                sent += 1
                threading.Event().wait(0.05)
            with suppress(ConnectionResetError):
                stuck_http.rest()  # what the kernel still held, and then the end
        finally:
            stuck_socket.kill()


@pytest.mark.slow
def test_a_silent_viewer_may_stay_silent(server: Server) -> None:
    stream_id = server.open()
    with socket_to(server, stream_id) as viewer:
        told(viewer, "hello")
        assert told(viewer, "status")["viewers"] == 1
        assert told(viewer, "status")["viewers"] == 1


def test_a_client_that_vanishes_in_the_middle_of_a_message_leaves_nothing(server: Server) -> None:
    stream_id = server.open(grace_s=0)
    with socket_to(server, stream_id) as camera:
        camera.send(picture("red"))
        pong(camera)
        camera.socket.sendall(b"\x82\xfe\xff\xff")  # a frame of 64 KiB, announced only
        camera.socket.shutdown(socket.SHUT_RDWR)
    eventually(lambda: server.http.get(f"/stream/{stream_id}").status_code == 404, within_s=2)


# --- a bare uvicorn --------------------------------------------------------------------------------------------------


def test_a_bare_uvicorn_serves_it_too_and_says_what_it_lacks(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "gateway.app:app", "--port", str(port)]
    with running(tmp_path, command=command, url=f"http://127.0.0.1:{port}") as server:
        assert "running under a bare uvicorn: no stalled-viewer reset, no drain on SIGTERM" in server.log
        stream_id = server.open()
        with (
            socket_to(server, stream_id, "?frames=binary") as viewer,
            Reader(server, f"/stream/video/{stream_id}") as mjpeg,
        ):
            viewer.send(picture("red"))
            assert shown(viewer).jpeg == picture("red")
            mjpeg.take(9)
            while (part := mjpeg.part())["X-Stream-State"] == "waiting":
                pass
            assert part.body == picture("red")
        children = server.children()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(10)
        eventually(lambda: gone(children), within_s=5)
