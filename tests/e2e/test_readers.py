"""VLC, ffmpeg, Chromium and curl read the MJPEG unmodified, and each decodes the picture that was pushed."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tests.pictures import COLOURS, colour_at, colour_of, picture
from tests.server import Server, eventually
from tests.sockets import socket_to
from tests.vlc import first_picture, vlc

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SIZE = (320, 240)


@contextmanager
def camera(server: Server, stream_id: str, colours: tuple[str, ...] = ("green",)) -> Iterator[None]:
    """A camera that sends 20 frames per second, of one colour after the other."""
    over = threading.Event()

    def feed() -> None:
        with socket_to(server, stream_id) as socket:
            turn = 0
            while not over.wait(0.05):
                socket.send(picture(colours[turn % len(colours)], SIZE))
                turn += 1

    feeder = threading.Thread(target=feed)
    feeder.start()
    eventually(lambda: server.show(stream_id)["frames_in"] > 0)  # before that a reader would begin with a slate
    try:
        yield
    finally:
        over.set()
        feeder.join()


def test_curl_reads_whole_pictures(server: Server) -> None:
    stream_id = server.open()
    with camera(server, stream_id):
        command = ["curl", "-sN", "-m", "2", f"{server.url}/stream/video/{stream_id}"]
        body = subprocess.run(command, capture_output=True, check=False).stdout
    parts = body.split(b"--frame\r\n")[2:-1]
    assert len(parts) > 10
    assert {colour_of(part.partition(b"\r\n\r\n")[2]) for part in parts} == {"green"}


@pytest.mark.parametrize("given", [[], ["-f", "mpjpeg"]])
def test_ffmpeg_decodes_frame_after_frame(server: Server, given: list[str]) -> None:
    stream_id = server.open()
    url = f"{server.url}/stream/video/{stream_id}"
    out = ["-frames:v", "10", "-f", "rawvideo", "-pix_fmt", "bgr24", "-"]
    with camera(server, stream_id, ("red", "blue")):
        command = ["ffmpeg", "-nostdin", "-v", "error", *given, "-i", url, *out]
        done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    frames = np.frombuffer(done.stdout, np.uint8).reshape(10, SIZE[1], SIZE[0], 3)
    seen = [colour_at(frame.reshape(-1, 3).mean(axis=0).tolist()) for frame in frames]
    assert set(seen) == {"red", "blue"}


def test_ffmpeg_decodes_a_redrawn_form(server: Server) -> None:
    stream_id = server.open(analyzers=["motion"])
    url = f"{server.url}/stream/video/{stream_id}?draw=boxes&width=320"
    with camera(server, stream_id, ("yellow",)):
        command = [
            "ffmpeg",
            "-nostdin",
            "-v",
            "error",
            "-i",
            url,
            "-frames:v",
            "3",
            "-f",
            "image2pipe",
            "-c:v",
            "png",
            "-",
        ]
        done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert colour_of(done.stdout) == "yellow"


@pytest.mark.browser
def test_chromium_shows_each_frame_in_an_img_as_soon_as_it_comes(server: Server, page: Any) -> None:
    stream_id = server.open()
    server.push(stream_id, picture("red", SIZE))
    page.goto(f"{server.url}/docs/protocol")  # a page of the same origin, so that its pixels may be read
    page.evaluate(f"document.body.innerHTML = '<img src=\"/stream/video/{stream_id}\">'")
    for colour in ("red", "green", "blue"):
        server.push(stream_id, picture(colour, SIZE))
        page.wait_for_function(_SHOWS, arg=list(reversed(COLOURS[colour])))
    assert page.evaluate("[document.images[0].naturalWidth, document.images[0].naturalHeight]") == list(SIZE)


_SHOWS = """wanted => {
  const image = document.images[0], canvas = document.createElement("canvas");
  if (!image.naturalWidth) return false;
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const pixel = context.getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data;
  return wanted.every((value, index) => Math.abs(value - pixel[index]) < 24);
}"""


@pytest.mark.browser
@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_chromium_renders_the_api_docs_without_a_foreign_or_failed_request(
    server: Server, page: Any, path: str
) -> None:
    asked: list[str] = []
    failed: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
    page.goto(server.url + path)
    page.get_by_text("/stream/request").first.wait_for()
    page.wait_for_load_state("networkidle")
    assert [url for url in asked if not url.startswith((server.url, "data:", "blob:"))] == []
    assert failed == []


def test_vlc_decodes_the_picture(server: Server) -> None:
    stream_id = server.open()
    with camera(server, stream_id), vlc(f"{server.url}/stream/video/{stream_id}") as folder:
        middle = first_picture(folder)[100:140, 140:180]
    assert colour_at(middle.reshape(-1, 3).mean(axis=0).tolist()) == "green"
