"""An RTSP server that answers what a test wants, and no media ever. It keeps what it was asked."""

from __future__ import annotations

import select
import socket
import socketserver
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Thread
from typing import Any

SDP = (
    b"v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    b"a=rtpmap:96 H264/90000\r\na=control:track1\r\n"
)
FINE: Mapping[str, bytes] = {
    "OPTIONS": b"RTSP/1.0 200 OK\r\nCSeq: %d\r\nPublic: OPTIONS, DESCRIBE, SETUP, PLAY\r\n\r\n",
    "DESCRIBE": b"RTSP/1.0 200 OK\r\nCSeq: %d\r\nContent-Type: application/sdp\r\nContent-Length: "
    + str(len(SDP)).encode()
    + b"\r\n\r\n"
    + SDP,
    "SETUP": b"RTSP/1.0 200 OK\r\nCSeq: %d\r\nSession: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n",
    "PLAY": b"RTSP/1.0 200 OK\r\nCSeq: %d\r\nSession: 1\r\n\r\n",
}


class FakeCamera:
    """`answers` by method, `%d` stands for the number of the request; b"" is silence."""

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        self.answers = {**FINE, **answers}
        self.asked: list[str] = []
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.port = 0


def not_closed(connections: list[socket.socket]) -> int:
    """How many the other side has not closed: the thread that serves one may learn of it later than the next comes."""
    poll = select.poll()
    held = list(connections)
    for connection in held:
        poll.register(connection, select.POLLRDHUP)
    return len(held) - len(poll.poll(0))


@contextmanager
def fake_camera(tls: ssl.SSLContext | None = None, **answers: bytes) -> Iterator[FakeCamera]:
    """A camera on a free port of this machine."""
    camera = FakeCamera(answers)
    held: list[socket.socket] = []  # of handlers that have not ended

    class Handler(socketserver.StreamRequestHandler):
        def head(self) -> str:
            """The next request; empty at the end."""
            lines: list[bytes] = []
            while (line := self.rfile.readline()) not in (b"", b"\r\n"):
                lines.append(line)
            return b"".join(lines).decode() if line else ""

        def handle(self) -> None:
            camera.connections += 1
            camera.open += 1
            held.append(self.request)
            camera.most_open = max(camera.most_open, not_closed(held))
            try:
                while text := self.head():
                    camera.asked.append(text)
                    number = int(text.lower().partition("cseq:")[2].split()[0])
                    answer = camera.answers.get(text.split()[0], b"RTSP/1.0 200 OK\r\nCSeq: %d\r\n\r\n")
                    self.wfile.write(answer.replace(b"%d", str(number).encode()))
            except (OSError, IndexError, ValueError):
                pass
            finally:
                held.remove(self.request)
                camera.open -= 1

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, *_: Any) -> None: ...

    with Server(("127.0.0.1", 0), Handler) as server:
        camera.port = server.server_address[1]
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield camera
        finally:
            server.shutdown()
            thread.join()
