"""HTTP cameras on free ports of this machine: motion JPEG, single pictures, playlists, redirects, passwords."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

from tests.pictures import picture

COLOURS = ("red", "green", "blue")


class WebCamera(ThreadingHTTPServer):
    """`folder` is what is served below /files. It keeps what it was asked, and with which credential."""

    daemon_threads = True

    def __init__(self, folder: Path | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.asked: list[tuple[str, str | None]] = []
        self.location = ""
        self.over = Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def handle_error(self, *_: Any) -> None: ...


class Handler(BaseHTTPRequestHandler):
    server: WebCamera

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        place = self.path.partition("?")[0]
        if place.startswith("/files/") and self.server.folder is not None:
            file = self.server.folder / place.removeprefix("/files/")
            if not file.exists():
                return self.send_error(404)
            return self.answer(file.read_bytes(), "image/jpeg" if file.suffix == ".jpg" else "video/mp2t")
        match place:
            case "/mjpeg":
                self.motion_jpeg()
            case "/still.jpg":
                self.answer(picture(COLOURS[len(self.server.asked) % 3]), "image/jpeg")
            case "/still.png":
                self.answer(picture("red", kind="png"), "image/png")
            case "/basic" | "/digest":
                self.guarded(place)
            case "/moved":
                self.send_response(302)
                self.send_header("Location", self.server.location)
                self.end_headers()
            case "/mute":
                self.server.over.wait(30)
            case "/html":
                self.answer(b"<html>", "text/html")
            case _:
                self.send_error(404)
        return None

    def answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def motion_jpeg(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        number = 0
        while not self.server.over.is_set():
            jpeg = picture(COLOURS[number % 3])
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg + b"\r\n")
            number += 1
            time.sleep(0.05)

    def guarded(self, place: str) -> None:
        said = self.headers.get("Authorization", "")
        if said.startswith("Basic dTpw") or 'username="u"' in said:
            return self.answer(picture("green"), "image/jpeg")
        self.send_response(401)
        self.send_header(
            "WWW-Authenticate", 'Basic realm="x"' if place == "/basic" else 'Digest realm="x", nonce="n", qop="auth"'
        )
        self.end_headers()
        return None

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def web_camera(folder: Path | None = None, tls: ssl.SSLContext | None = None) -> Iterator[WebCamera]:
    with WebCamera(folder) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
