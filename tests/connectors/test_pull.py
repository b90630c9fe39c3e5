"""A camera that the gateway pulls: connected, watched, stopped, started, deleted, over the real server."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from bench.observer import observing
from tests.media.web_camera import WebCamera, web_camera
from tests.pictures import picture
from tests.server import Server, eventually, running


@pytest.fixture(scope="module")
def camera() -> Iterator[WebCamera]:
    with web_camera() as found:
        yield found


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, camera: WebCamera) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("gateway")
    settings = {"ENDPOINTS": f'["127.0.0.1:{camera.port}"]', "FOLDERS": f'["{home}"]', "SNAPSHOT_S": "0.1"}
    with running(home, **{f"FRAMEGATE_MEDIA__{key}": value for key, value in settings.items()}) as found:
        yield found


def connect(gateway: Server, url: object, **wish: Any) -> httpx2.Response:
    return gateway.http.post("/stream/connect", json={"stream_url": url, "analyzers": [], **wish})


def camera_of(gateway: Server, stream_id: str) -> dict[str, Any]:
    found: dict[str, Any] = gateway.show(stream_id)["camera"]
    return found


def test_a_camera_is_pulled_watched_stopped_started_and_deleted(gateway: Server, camera: WebCamera) -> None:
    url = camera.url.replace("//", "//canaryuser:canarypass@") + "/mjpeg?key=canaryquery"
    answer = connect(gateway, url, stream_name="yard")
    assert answer.status_code == 200, answer.text
    stream_id = answer.json()["stream_id"]
    assert answer.json()["websocket_url"] == f"/ws/stream/{stream_id}"
    eventually(lambda: gateway.show(stream_id)["state"] == "live")
    status = gateway.show(stream_id)
    assert (status["name"], status["width"], status["publishers"]) == ("yard", 160, 1)
    assert camera_of(gateway, stream_id)["source"] == f"http://***@127.0.0.1:{camera.port}/***"
    assert gateway.http.get(f"/stream/{stream_id}/snapshot.jpg").content[:2] == b"\xff\xd8"

    assert gateway.http.post(f"/stream/{stream_id}/stop").json()["state"] == "stopped"
    before = gateway.show(stream_id)["frames_in"]
    assert gateway.http.post(f"/stream/{stream_id}/start").json()["state"] == "connecting"
    eventually(lambda: gateway.show(stream_id)["frames_in"] > before)
    assert camera_of(gateway, stream_id)["state"] == "online"

    assert gateway.http.delete(f"/stream/{stream_id}").status_code == 204
    eventually(lambda: gateway.http.get("/status").json()["media"]["sources"] == 0)
    told = answer.text + gateway.log + gateway.http.get("/metrics").text + str(status)
    assert "canary" not in told


def test_a_camera_that_is_not_there_is_lost_and_says_why(gateway: Server, camera: WebCamera) -> None:
    stream_id = connect(gateway, f"{camera.url}/nothing").json()["stream_id"]
    found = eventually(lambda: (at := camera_of(gateway, stream_id))["state"] == "lost" and at)
    assert found["error"] == {"code": "not_found", "detail": "the source answered 404 to GET"}
    assert found["attempts"] >= 1
    gateway.http.delete(f"/stream/{stream_id}")


@pytest.mark.slow
def test_the_gateway_itself_loads_no_libav_and_lives_on_when_the_child_is_killed(
    gateway: Server, camera: WebCamera
) -> None:
    stream_id = connect(gateway, f"{camera.url}/mjpeg").json()["stream_id"]
    eventually(lambda: gateway.show(stream_id)["frames_in"] > 2)
    assert "libav" not in Path(f"/proc/{gateway.process.pid}/maps").read_text()
    for child in gateway.children():
        if "media" in child.cmdline() and "libav" in Path(f"/proc/{child.pid}/maps").read_text():
            os.kill(child.pid, signal.SIGKILL)
            break
    else:
        raise AssertionError("no child reads the camera")
    eventually(lambda: not psutil.pid_exists(child.pid))
    before = gateway.show(stream_id)["frames_in"]
    eventually(lambda: gateway.show(stream_id)["frames_in"] > before + 2)
    gateway.http.delete(f"/stream/{stream_id}")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("exec:ls", "source_scheme"),
        ({"url": "rtsp://192.168.1.9"}, "source_scheme"),
        (None, "source_scheme"),
        ("rtsp://127.0.0.1:{own}/", "source_address"),
        ("http://localhost:{own}/", "source_address"),
        ("http://169.254.169.254/latest/meta-data", "source_address"),
        ("http://192.168.7.9/", "source_address"),
        ("http://0x7f000001/", "source_address"),
        ("http://192.168.1.9/ x", "source_url"),
        ("file:///etc/passwd", "source_address"),
        ("file://{home}/../../etc/passwd", "source_address"),
    ],
)
def test_what_must_not_be_pulled_is_refused_before_a_stream_is_opened(gateway: Server, url: Any, code: str) -> None:
    before = gateway.http.get("/status").json()["streams_opened"]
    if isinstance(url, str):
        url = url.format(own=gateway.address[1], home=gateway.home)
    answer = connect(gateway, url)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert gateway.http.get("/status").json()["streams_opened"] == before


def test_a_stream_whose_pictures_are_pushed_has_nothing_to_start(gateway: Server) -> None:
    stream_id = gateway.open()
    for what in ("start", "stop"):
        answer = gateway.http.post(f"/stream/{stream_id}/{what}")
        assert (answer.status_code, answer.json()["code"]) == (404, "no_camera")


def test_somebody_who_publishes_to_a_pulled_stream_is_the_second_publisher(gateway: Server, camera: WebCamera) -> None:
    stream_id = connect(gateway, f"{camera.url}/mjpeg").json()["stream_id"]
    eventually(lambda: gateway.show(stream_id)["publishers"] == 1)
    answer = gateway.http.post(
        f"/stream/{stream_id}/frame", content=b"\xff\xd8", headers={"Content-Type": "image/jpeg"}
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "second_publisher")
    gateway.http.delete(f"/stream/{stream_id}")


@pytest.mark.slow
def test_only_an_admin_pulls_files_of_this_machine(tmp_path: Path) -> None:
    with running(
        tmp_path, FRAMEGATE_AUTH_TOKEN="a-long-secret-token", FRAMEGATE_MEDIA__FOLDERS=f'["{tmp_path}"]'
    ) as gateway:
        wish = {"stream_url": f"file://{tmp_path}/none.mp4", "analyzers": []}
        assert gateway.http.post("/stream/connect", json=wish).status_code == 401
        admin = {"Authorization": "Bearer a-long-secret-token"}
        answer = gateway.http.post("/stream/connect", json=wish, headers=admin)
        assert answer.status_code == 200
        stream_id = answer.json()["stream_id"]
        eventually(lambda: gateway.http.get(f"/stream/{stream_id}", headers=admin).json()["camera"]["error"])


@pytest.mark.slow
def test_a_camera_that_is_away_for_long_enough_is_an_event_until_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    settings = {"LOST_S": "1", "RETRY_MAX_S": "1", "SNAPSHOT_S": "0.1"}
    with web_camera(folder) as camera:
        settings["ENDPOINTS"] = f'["127.0.0.1:{camera.port}"]'
        with running(
            tmp_path / "home", **{f"FRAMEGATE_MEDIA__{key}": value for key, value in settings.items()}
        ) as server:
            stream = connect(server, f"{camera.url}/files/still.jpg?canary").json()
            with observing(server.address, stream["websocket_url"], "") as observer:
                eventually(lambda: [event["phase"] for event in observer.events] == ["new"])
                (folder / "still.jpg").write_bytes(picture("red"))
                eventually(lambda: [event["phase"] for event in observer.events] == ["new", "end"])
                (folder / "still.jpg").unlink()
                eventually(lambda: len(observer.events) == 3)
                server.http.post(f"/stream/{stream['stream_id']}/stop")
                eventually(lambda: len(observer.events) == 4)
    began, ended, again, stopped = observer.events
    assert [event["id"] for event in observer.events] == [began["id"]] * 2 + [again["id"]] * 2
    assert (began["event_type"], began["severity"], began["label"]) == ("camera_lost", "critical", "not_found")
    assert began["data"] == {
        "state": "lost",
        "code": "not_found",
        "detail": "the source answered 404 to GET",
        "source": f"http://127.0.0.1:{camera.port}/***",
    }
    assert began["started_at"] < ended["ended_at"] <= again["started_at"]
    assert (stopped["phase"], stopped["event_type"]) == ("end", "camera_lost")
