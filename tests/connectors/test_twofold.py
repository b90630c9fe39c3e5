"""A camera with two streams: the small one is read, and the large one while somebody watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from gateway.connectors.pull import Pull
from gateway.connectors.twofold import TwofoldPull
from gateway.media.messages import Told
from gateway.media.pool import MediaPool
from gateway.media.sources import Source, parse
from gateway.media.worker import Feed, Receiver
from tests.clock import now, simulated
from tests.doubles import FakeAnalyzer, FakeWorker, engine, listener, stream
from tests.media.web_camera import WebCamera, web_camera
from tests.pictures import picture
from tests.server import Server, eventually, running


@contextmanager
def beside_a_camera(tmp_path: Path, **media: str) -> Iterator[tuple[Server, WebCamera]]:
    """A gateway that may pull a camera, whose small stream is `/files/small.jpg`."""
    (tmp_path / "small.jpg").write_bytes(picture("red", (64, 48)))
    with web_camera(tmp_path) as camera:
        media |= {"ENDPOINTS": f'["127.0.0.1:{camera.port}"]', "SNAPSHOT_S": "0.1"}
        with running(tmp_path / "home", **{f"FRAMEGATE_MEDIA__{key}": text for key, text in media.items()}) as server:
            yield server, camera


def asked(camera: WebCamera) -> set[str]:
    return {path for path, _ in camera.asked}


def width(server: Server, stream_id: str) -> int:
    return int(server.show(stream_id)["width"] or 0)


class Openings:
    """A pool that reads nothing: `opened` is what it was to read."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def open(self, source: Source, receiver: Receiver) -> Feed:
        wish = receiver.wish(len(self.opened) + 1)
        assert wish is not None, "opened, and not wanted"
        self.opened.append(source.path)
        return Feed(len(self.opened), source, receiver, wish)

    def close(self, feed: Feed) -> None: ...


@simulated
async def test_of_a_stream_that_has_ended_no_other_form_is_opened() -> None:
    async with engine() as hub:
        session, pool = await stream(hub), Openings()
        main, sub = (parse(f"rtsp://192.168.1.9/{name}") for name in ("main", "sub"))
        camera = TwofoldPull(session, main, sub, pool=cast(MediaPool, pool), clock=now)
        camera.start()
        session.watch(listener(session))
        session.end("deleted")  # its own task closes the camera a moment later
        assert (camera.wish(1), pool.opened) == (None, ["/sub"])


@simulated
async def test_a_camera_that_is_looked_at_seldom_does_not_seem_stale_and_keeps_its_place() -> None:
    async with engine(FakeWorker(FakeAnalyzer("slow"))) as hub:
        session = await stream(hub, "slow", options={"slow": {"fps": 0.2}})
        camera = Pull(session, parse("rtsp://192.168.1.9/"), pool=cast(MediaPool, Openings()), clock=now)
        camera.start()
        wish = camera.wish(1)
        assert wish is not None
        assert (wish.fps, wish.wanted, camera.asked_for_few) == (1.0, True, False)
        camera.told(Told(1, "online"))
        assert camera.asked_for_few
        camera.told(Told(1, "lost", "timeout", "it says nothing"))
        assert not camera.asked_for_few


@pytest.mark.slow
@pytest.mark.e2e
def test_the_main_stream_is_read_only_while_somebody_watches(tmp_path: Path) -> None:
    with beside_a_camera(tmp_path, MAIN_S="0.5") as (server, camera):
        wish = {"stream_url": f"{camera.url}/mjpeg?canary", "stream_url_sub": f"{camera.url}/files/small.jpg"}
        answer = server.http.post("/stream/connect", json={**wish, "analyzers": ["motion"]})
        assert answer.status_code == 200, answer.text
        stream_id = answer.json()["stream_id"]
        eventually(lambda: server.show(stream_id)["frames_in"] > 3)
        assert (width(server, stream_id), asked(camera)) == (64, {"/files/small.jpg"})
        with server.http.stream("GET", answer.json()["video_url"]) as video:
            assert video.status_code == 200
            eventually(lambda: width(server, stream_id) == 160)
            assert server.show(stream_id)["camera"]["state"] == "online"
        eventually(lambda: width(server, stream_id) == 64)
        status = server.show(stream_id)
        assert (status["state"], status["camera"]["attempts"], status["camera"]["error"]) == ("live", 1, None)
        server.http.delete(f"/stream/{stream_id}")
        eventually(lambda: server.http.get("/status").json()["media"]["sources"] == 0)


@pytest.mark.e2e
@pytest.mark.slow
def test_a_main_stream_that_is_not_there_leaves_the_small_one(tmp_path: Path) -> None:
    with beside_a_camera(tmp_path, RETRY_MAX_S="1") as (server, camera):
        wish = {"stream_url": f"{camera.url}/nothing", "stream_url_sub": f"{camera.url}/files/small.jpg"}
        stream = server.http.post("/stream/connect", json={**wish, "analyzers": ["motion"]}).json()
        with server.http.stream("GET", stream["video_url"]) as video:
            assert video.status_code == 200
            eventually(lambda: "/nothing" in asked(camera))
            before = server.show(stream["stream_id"])["frames_in"]
            eventually(lambda: server.show(stream["stream_id"])["frames_in"] > before + 5)
            assert server.show(stream["stream_id"])["camera"]["state"] == "online"
        refused = server.http.post("/stream/connect", json={**wish, "stream_url_sub": "gopher://x"})
        assert (refused.status_code, refused.json()["code"]) == (422, "source_scheme")
