"""HTTP as bytes on a socket, for rules that a client library would smooth over."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from tests.server import PATIENCE_S, Server


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart body: its headers in the order of the wire, and what is in it."""

    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)

    def __getitem__(self, name: str) -> str:
        return dict(self.headers)[name]


class Reader:
    """One GET and its answer, read piece by piece. A chunked body is read without its framing."""

    def __init__(self, server: Server, path: str, *, version: str = "1.1", receive_buffer: int | None = None) -> None:
        self._socket = socket.socket()
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(server.address)
        self._socket.sendall(f"GET {path} HTTP/{version}\r\nHost: {server.url[7:]}\r\n\r\n".encode())
        self._raw = b""
        self._body = b""
        self.status_line, *lines = self._raw_until(b"\r\n\r\n").decode().split("\r\n")
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        self.chunked = self.headers.get("transfer-encoding") == "chunked"

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def take(self, length: int) -> bytes:
        while len(self._body) < length:
            self._more()
        taken, self._body = self._body[:length], self._body[length:]
        return taken

    def until(self, end: bytes) -> bytes:
        """The body up to and with `end`."""
        while end not in self._body:
            self._more()
        return self.take(self._body.index(end) + len(end))

    def part(self) -> Part:
        """The next part of a multipart body that stands behind its boundary line, and the line after it."""
        head = self.until(b"\r\n\r\n").decode()[:-4].split("\r\n")
        headers = tuple((name, value) for name, _, value in (line.partition(": ") for line in head))
        body = self.take(int(dict(headers)["Content-Length"]))
        assert self.take(len(b"\r\n--frame\r\n")) == b"\r\n--frame\r\n"
        return Part(headers, body)

    def pending(self) -> bytes:
        """What has come beyond what was taken, without waiting."""
        return self._body

    def rest(self) -> bytes:
        """The body up to its end."""
        try:
            while True:
                self._more()
        except EOFError:
            rest, self._body = self._body, b""
            return rest

    def _more(self) -> None:
        if not self.chunked:
            if not self._raw:
                self._receive()
            self._body, self._raw = self._body + self._raw, b""
            return
        size = int(self._raw_until(b"\r\n"), 16)
        chunk = self._raw_take(size + 2)
        assert chunk.endswith(b"\r\n")
        if size == 0:
            raise EOFError("the last chunk")
        self._body += chunk[:-2]

    def _raw_until(self, end: bytes) -> bytes:
        while end not in self._raw:
            self._receive()
        return self._raw_take(self._raw.index(end) + len(end))

    def _raw_take(self, length: int) -> bytes:
        while len(self._raw) < length:
            self._receive()
        taken, self._raw = self._raw[:length], self._raw[length:]
        return taken

    def _receive(self) -> None:
        if not (data := self._socket.recv(65536)):
            raise EOFError("the connection has ended")
        self._raw += data


def mjpeg(server: Server, stream_id: str, query: str = "", **more: Any) -> Reader:
    return Reader(server, f"/stream/video/{stream_id}{query}", **more)
