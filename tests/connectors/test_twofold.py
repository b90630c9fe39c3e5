"""A camera with two streams: the small one is read, and the large one while somebody watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

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
