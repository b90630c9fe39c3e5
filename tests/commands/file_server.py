"""A real HTTP server on loopback that serves one file, with Range, and misbehaves as told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Served:
    """`cuts` are byte counts after which answers, one after the other, break off."""

    body: bytes
    status: int = 200
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)  # the Range header of each request
    url: str = ""


@contextmanager
def serving(served: Served) -> Iterator[Served]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            served.asked.append(asked)
            if served.status != 200:
                self.send_error(served.status)
                return
            start = int(match[1]) if served.ranges and (match := re.match(r"bytes=(\d+)-", asked or "")) else 0
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(served.body) - 1}/{len(served.body)}")
            self.send_header("Content-Length", str(len(served.body) - start))
            self.end_headers()
            body = served.body[start:]
            self.wfile.write(body[: served.cuts.pop(0)] if served.cuts else body)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        served.url = f"http://127.0.0.1:{server.server_port}/weights.onnx"
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
