"""Lines that are slow, silent or lossy, and clients that come back all at once: who is hurt, and who is not."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from os import geteuid
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from websockets.sync.client import ClientConnection

from tests.edge.conftest import limits
from tests.pictures import picture
from tests.proxy import CHUNK, Line, Proxy, ProxyThread
from tests.server import SERVE, Server, eventually, running
from tests.sockets import framed, pong, shown, socket_to, told

pytestmark = pytest.mark.e2e

POLITE = ["framegate.v1"]
SEEN = '''
"""One event for as long as anything comes."""
from gateway import Analyzer, Result, Sighting, hookimpl

class Seen(Analyzer):
    name = "seen"

    def analyze(self, frame, memory):
        return Result(sightings=(Sighting("seen", linger_s=60),))

@hookimpl
def register_analyzers():
    return [Seen]
'''


@cache
def noise(width: int = 640, height: int = 360) -> bytes:
    """A picture of some 180 KB."""
    return cv2.imencode(".jpg", np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8))[1].tobytes()


@contextmanager
def through(line: ProxyThread, server: Server, stream_id: str, query: str = "", **more: Any) -> Iterator[Any]:
    """A socket that goes over the bad line."""
    there = Server(server.process, line.url, server.home, server.http)
    with socket_to(there, stream_id, query, **more) as found:
        yield found


@contextmanager
def camera_of(server: Server, stream_id: str, fps: float, jpeg: bytes) -> Iterator[list[int]]:
    """A polite camera on a good line; the numbers that were acknowledged, each frame stamped with its time."""
    over, acknowledged = threading.Event(), list[int]()

    def publish() -> None:
        with socket_to(server, stream_id, subprotocols=POLITE) as camera:
            for seq in range(100_000):
                camera.send(framed(jpeg, seq, time.time_ns() // 1000))
                acknowledged.append(told(camera, "ack")["seq"])
                if over.wait(1 / fps):
                    return

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield acknowledged
    finally:
        over.set()
        thread.join()


# --- a slow line -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_viewer_on_a_slow_line_gets_fewer_pictures_and_none_of_them_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a tenth of what there is. What waits in front of it would be 5 s old in the end; the line holds 1 s."""
    monkeypatch.setattr("tests.proxy.BUFFERED", CHUNK)
    jpeg, seconds, fps = noise(), 6.0, 20.0
    with (
        running(tmp_path, **limits(SEND_BUFFER_BYTES="16384", VIEWER_STALL_S="2")) as server,
        ProxyThread(server.address, receive_buffer=32768) as line,
    ):
        stream_id, ages, seqs = server.open(), list[float](), list[int]()
        line.do(lambda proxy: setattr(proxy, "down", Line(bytes_per_s=len(jpeg) * fps / 10)))
        with (
            through(line, server, stream_id, "?frames=binary", max_size=None) as slow,
            camera_of(server, stream_id, fps, jpeg) as acknowledged,
        ):
            began = time.monotonic()
            while time.monotonic() - began < seconds:
                pushed = shown(slow)
                ages.append(time.time() - pushed.micros / 1e6)
                seqs.append(pushed.seq)
            assert pong(slow) is not None, "it was cut"
            offered = len(acknowledged)
        assert offered > 40, "the camera was slow itself"
    assert seqs == sorted(set(seqs))
    assert 3 <= len(seqs) < offered / 3
    assert max(ages[1:]) < 3.0


# --- a silent line ---------------------------------------------------------------------------------------------------


@pytest.fixture
def seen(tmp_path: Path) -> str:
    path = tmp_path / "seen.py"
    path.write_text(SEEN)
    return json.dumps([str(path)])


def phases(viewer: ClientConnection) -> list[str]:
    """Of the events that were told until now."""
    return [said["phase"] for said in pong(viewer) if said["type"] == "event"]


@pytest.mark.slow
def test_a_line_that_was_silent_for_a_moment_goes_on_where_it_was(tmp_path: Path, seen: str) -> None:
    """The same socket, the same publisher, the same event; nothing is shown twice."""
    settings = {"FRAMEGATE_PLUGINS": seen, "FRAMEGATE_STREAM__STALE_S": "0.5"}
    with running(tmp_path / "home", **settings) as server, ProxyThread(server.address) as line:
        stream_id = server.open(analyzers=["seen"])
        eventually(lambda: server.show(stream_id)["analyzers"][0]["state"] == "ready")
        with (
            socket_to(server, stream_id, "?frames=binary") as viewer,
            through(line, server, stream_id, subprotocols=POLITE) as camera,
        ):
            camera.send(framed(picture("red"), 0))
            assert (told(camera, "ack")["seq"], shown(viewer).seq) == (0, 0)
            assert told(viewer, "event")["phase"] == "new"
            line.do(Proxy.vanish)
            camera.send(framed(picture("blue"), 1))
            eventually(lambda: server.show(stream_id)["state"] == "stale")
            line.do(Proxy.heal)
            assert (told(camera, "ack")["seq"], shown(viewer).seq) == (1, 1)
            eventually(lambda: server.show(stream_id)["analyzers"][0]["analyzed"] == 2)
            assert [phase for phase in phases(viewer) if phase != "update"] == []
        assert ": ended" not in server.log


@pytest.mark.slow
def test_a_line_that_was_silent_for_too_long_costs_the_stream_and_another_one_begins(tmp_path: Path, seen: str) -> None:
    settings = {"FRAMEGATE_PLUGINS": seen, **limits(PUBLISHER_SILENCE_S="1", VIEWER_STALL_S="1")}
    with running(tmp_path / "home", **settings) as server, ProxyThread(server.address) as line:
        first = server.open(analyzers=["seen"], grace_s=0.2)
        eventually(lambda: server.show(first)["analyzers"][0]["state"] == "ready")
        with through(line, server, first, subprotocols=POLITE) as camera:
            camera.send(framed(picture("red"), 0))
            old = told(camera, "event")["id"]
            line.do(Proxy.vanish)
            eventually(lambda: server.http.get(f"/stream/{first}").status_code == 404)
            line.do(Proxy.heal)
        assert server.http.get(f"/stream/{first}").json()["reason"] == "last_client_left"
        assert server.log.count(f"{first}: ended") == 1
        again = server.open(analyzers=["seen"])
        with through(line, server, again, subprotocols=POLITE) as camera:
            eventually(lambda: server.show(again)["analyzers"][0]["state"] == "ready")
            camera.send(framed(picture("red"), 0))
            new = told(camera, "event")
        assert (new["phase"], new["id"] == old) == ("new", False)
        assert server.metric("framegate_websockets_closed_total", close_code="4408") == 1


# --- delay and jitter ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_delay_and_jitter_cost_time_and_no_frame(server: Server) -> None:
    """A publisher that keeps to its credits sends at most four on such a line, all of which arrive in order."""
    stream_id, count = server.open(), 16
    with ProxyThread(server.address) as line:
        line.do(lambda proxy: setattr(proxy, "up", Line(delay_s=0.1, jitter_s=0.1)))
        line.do(lambda proxy: setattr(proxy, "down", Line(delay_s=0.1, jitter_s=0.1)))
        with (
            through(line, server, stream_id, subprotocols=POLITE) as camera,
            through(line, server, stream_id, "?frames=binary") as viewer,
        ):
            told(camera, "hello")
            began, acknowledged = time.monotonic(), [-1]
            for seq in range(count):
                while seq - acknowledged[-1] > 4:
                    acknowledged.append(told(camera, "ack")["seq"])
                camera.send(framed(picture("red"), seq))
            while acknowledged[-1] < count - 1:
                acknowledged.append(told(camera, "ack")["seq"])
            took, seqs = time.monotonic() - began, [shown(viewer).seq]
            while seqs[-1] < count - 1:
                seqs.append(shown(viewer).seq)
    assert acknowledged == sorted(set(acknowledged))
    assert seqs == sorted(set(seqs))
    assert took > 0.2 * (count / 4 - 1)
    status = server.show(stream_id)
    assert (status["frames_in"], status["dropped"]["ingest"]) == (count, {})


# --- a cable ---------------------------------------------------------------------------------------------------------

HERE, THERE = "10.213.78.1", "10.213.78.2"
CAMERA = """
import sys, time, websockets.sync.client
with websockets.sync.client.connect(sys.argv[1], proxy=None, subprotocols=["framegate.v1"]) as socket:
    while True:
        socket.send(open(sys.argv[2], "rb").read())
        print("sent", flush=True)
        time.sleep(0.05)
"""
VIEWER = """
import sys, struct, websockets.sync.client
with websockets.sync.client.connect(sys.argv[1] + "?frames=binary", proxy=None, max_size=None) as socket:
    for message in socket:
        if isinstance(message, bytes):
            print(struct.unpack_from(">I", message, 8)[0], flush=True)
"""


class Cable:
    """Between this machine and another one, which is a network namespace."""

    def __init__(self, name: str, near: str, far: str) -> None:
        self.name, self.near, self.far = name, near, far

    @contextmanager
    def over_there(self, program: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        command = ("ip", "netns", "exec", self.name, sys.executable, "-c", program, *arguments)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            try:
                yield process
            finally:
                process.kill()

    def pull(self) -> None:
        """Nobody is told: no FIN, no RST, no answer any more."""
        run("ip", "-n", self.name, "link", "set", self.far, "down")


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)


@pytest.fixture
def cable() -> Iterator[Cable]:
    if geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("only root with iproute2 can make a network namespace")
    number = time.monotonic_ns() % 10**7
    made = Cable(f"fgc{number}", f"fgcn{number}", f"fgcf{number}")
    try:
        run("ip", "netns", "add", made.name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespace can be made here: {error.stderr.strip()}")
    try:
        run("ip", "link", "add", made.near, "type", "veth", "peer", "name", made.far, "netns", made.name)
        run("ip", "address", "add", f"{HERE}/30", "dev", made.near)
        run("ip", "link", "set", made.near, "up")
        run("ip", "-n", made.name, "address", "add", f"{THERE}/30", "dev", made.far)
        run("ip", "-n", made.name, "link", "set", made.far, "up")
        yield made
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no cable between network namespaces can be made here: {error.stderr.strip()}")
    finally:
        run("ip", "netns", "delete", made.name)  # and the cable with it
        with suppress(subprocess.CalledProcessError):
            run("ip", "link", "delete", made.near)


@contextmanager
def reachable(home: Path, **more: str) -> Iterator[tuple[Server, str, str]]:
    """A gateway at this end of the cable, a stream of it, and the address of its socket."""
    token = "a-static-token-of-these-tests-7"
    with running(home, command=(*SERVE, "--host", HERE), AUTH_TOKEN=token, **more) as server:
        server.http.headers["Authorization"] = f"Bearer {token}"
        stream = server.http.post("/stream/request", json={"analyzers": [], "grace_s": 1}).json()
        yield server, stream["stream_id"], server.ws + stream["websocket_url"]


@pytest.mark.slow
def test_who_is_behind_a_pulled_cable_is_gone_in_seconds_and_the_stream_ends_once(tmp_path: Path, cable: Cable) -> None:
    """A publisher and a viewer of which nothing is heard any more, and a viewer here who loses nothing before."""
    file = tmp_path / "red.jpg"
    file.write_bytes(picture("red"))
    settings = {"FRAMEGATE_STREAM__STALE_S": "1", **limits(USER_TIMEOUT_S="3")}
    with reachable(tmp_path / "home", **settings) as (server, stream_id, url):
        with cable.over_there(CAMERA, url, str(file)) as camera, cable.over_there(VIEWER, url) as viewer:
            assert camera.stdout is not None
            assert viewer.stdout is not None
            camera.stdout.readline()
            viewer.stdout.readline()
            eventually(lambda: server.show(stream_id)["viewers"] == 1)
            assert server.show(stream_id)["publishers"] == 1
            cable.pull()
            pulled = time.monotonic()
            eventually(lambda: server.http.get(f"/stream/{stream_id}").status_code == 404, within_s=15)
            assert time.monotonic() - pulled < 12
        assert server.http.get(f"/stream/{stream_id}").json()["reason"] == "last_client_left"
        assert server.log.count(f"{stream_id}: ended") == 1
        eventually(lambda: server.metric("framegate_connections") <= 1)
        assert "Traceback" not in server.log


@pytest.mark.slow
def test_a_viewer_behind_a_line_that_loses_packets_is_only_slower(tmp_path: Path, cable: Cable) -> None:
    try:  # a queue of two packets: what comes in a burst is lost
        run("tc", "qdisc", "add", "dev", cable.near, "root", "tbf", "rate", "4mbit", "burst", "3100", "limit", "3100")
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"this kernel cannot limit a link: {error}")
    with reachable(tmp_path / "home") as (server, stream_id, url), cable.over_there(VIEWER, url) as viewer:
        assert viewer.stdout is not None
        token = {"Authorization": server.http.headers["Authorization"]}
        with socket_to(server, stream_id, subprotocols=POLITE, additional_headers=token) as camera:
            eventually(lambda: server.show(stream_id)["viewers"] >= 1)
            for seq in range(60):
                camera.send(framed(noise(), seq))
                told(camera, "ack")
                time.sleep(0.05)
            numbers = [int(viewer.stdout.readline())]
            while numbers[-1] < 59:
                numbers.append(int(viewer.stdout.readline()))
            assert server.show(stream_id)["viewers"] >= 1
        statistics = subprocess.run(("tc", "-s", "qdisc", "show", "dev", cable.near), capture_output=True, check=True)
        lost = int(statistics.stdout.partition(b"dropped ")[2].partition(b",")[0])
    assert lost > 10, "nothing was lost"
    assert numbers == sorted(set(numbers))
    assert 2 <= len(numbers) < 60


# --- all at once -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_two_hundred_viewers_that_are_cut_off_at_once_come_back_one_after_the_other(tmp_path: Path) -> None:
    """Most are told to come back; each does in its own time, and who was not cut off does not notice."""
    client_of = import_module("framegate_client").AsyncClient  # which this project is not installed with
    count = 200
    rules = limits(ADMISSION_PER_S="60", ADMISSION_BURST="30", RETRY_AFTER_MAX_S="3")
    with running(tmp_path, **rules) as server:
        stream_id = server.open()
        async with Proxy(server.address) as line, client_of(f"http://127.0.0.1:{line.address[1]}") as client:
            watching = [asyncio.create_task(_watch(client, stream_id)) for _ in range(count)]
            await _viewers(server, count)
            with await asyncio.to_thread(socket_to, server, stream_id) as steady:
                line.reset()
                took, slowest = await asyncio.to_thread(_all_back, server, steady, count + 1)
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
        assert server.metric("framegate_rejected_total", code="too_many_at_once") > count / 10
        assert "Traceback" not in server.log
    assert took > 1.5, "200 at 60 a second"
    assert slowest < 5.0


async def _watch(client: Any, stream_id: str) -> None:
    async with client.watch(stream_id, topics=["status"]) as viewer:
        async for _ in viewer:
            pass


def _all_back(server: Server, steady: ClientConnection, viewers: int) -> tuple[float, float]:
    """How long it takes until all are there again, and the longest that a viewer waits for an answer meanwhile."""
    began, slowest = time.monotonic(), 0.0
    eventually(lambda: server.metric("framegate_viewers") < viewers / 2)
    while server.metric("framegate_viewers") < viewers:
        asked = time.monotonic()
        pong(steady)
        slowest = max(slowest, time.monotonic() - asked)
        assert asked - began < 150
    return time.monotonic() - began, slowest


async def _viewers(server: Server, count: int) -> None:
    await asyncio.to_thread(eventually, lambda: server.metric("framegate_viewers") == count, within_s=60)
