"""Requests and WebSocket frames as bytes on a socket, right or wrong."""

from __future__ import annotations

import json
import socket
import struct
from base64 import b64encode
from contextlib import suppress
from types import TracebackType
from typing import Any

from tests.server import PATIENCE_S, Server

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY = b64encode(b"0123456789abcdef").decode()


def request(path: str, *lines: str, method: str = "GET", host: str = "localhost", body: bytes = b"") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode("latin-1") + body


def upgrade(path: str, *lines: str) -> bytes:
    """A WebSocket handshake with further header lines."""
    own = (
        *("Upgrade: websocket", "Connection: Upgrade"),
        *(f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13"),
    )
    return request(path, *own, *lines)


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = b"\1\2\3\4",
    width: int = 0,
) -> bytes:
    """One frame (RFC 6455 section 5.2). `width`: bytes of the length field, 2 or 8, even if fewer would do."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    masked = 0 if mask is None else 0x80
    size = len(payload)
    if size > 65535 or width == 8:
        head = struct.pack("!BBQ", first, masked | 127, size)
    elif size > 125 or width == 2:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BB", first, masked | size)
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


ASK = frame(TEXT, b'{"type":"ping"}')  # answered in its turn, so that all before it has been dealt with
ANSWER = b'{"type":"pong"}'


class Wire:
    """One connection. What is read is kept until it is taken."""

    def __init__(
        self, address: tuple[str, int], *, receive_buffer: int | None = None, source: str | None = None
    ) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            self.socket.bind((source, 0))
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(address)
        self._read = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> Wire:
        """As far as the other side takes it: it may have ended by now."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)
        return self

    def rest(self) -> bytes | None:
        """All up to the end; None if that was a reset."""
        try:
            while data := self.socket.recv(65536):
                self._read += data
        except ConnectionResetError:
            return None
        return self._read

    def answer(self) -> Answer:
        """One answer whose length is known."""
        head = self.until(b"\r\n\r\n").decode("latin-1")
        status, *lines = head[:-4].split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return Answer(int(status.split()[1]), headers, self.take(int(headers.get("content-length", "0"))))

    def until(self, end: bytes) -> bytes:
        while end not in self._read:
            self._more()
        return self.take(self._read.index(end) + len(end))

    def take(self, size: int) -> bytes:
        while len(self._read) < size:
            self._more()
        taken, self._read = self._read[:size], self._read[size:]
        return taken

    def _more(self) -> None:
        if not (data := self.socket.recv(65536)):
            raise EOFError(f"the connection has ended after {self._read!r}")
        self._read += data

    # --- WebSockets --------------------------------------------------------------------------------------------------

    def next_frame(self) -> tuple[int, bytes]:
        """Opcode and payload of a server's frame, which is never masked and never fragmented here."""
        first, second = self.take(2)
        assert first & 0x70 == 0
        size = second & 127
        assert second & 128 == 0
        if size == 126:
            (size,) = struct.unpack("!H", self.take(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self.take(8))
        return first & 15, self.take(size)

    def outcome(self) -> str:
        """`open` if ASK or a ping is answered; else how it ended: its close code, `none` without one, or `end`."""
        try:
            while True:
                opcode, payload = self.next_frame()
                if (opcode == PONG and payload == b"still there?") or (opcode == TEXT and payload == ANSWER):
                    return "open"
                if opcode == CLOSE:
                    return str(struct.unpack("!H", payload[:2])[0]) if payload else "none"
        except (EOFError, ConnectionResetError):
            return "end"


class Answer:
    """An HTTP answer."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def code(self) -> str:
        problem: dict[str, Any] = json.loads(self.body)
        return str(problem["code"])


def wire(server: Server, **more: Any) -> Wire:
    return Wire(server.address, **more)


def ask(server: Server, data: bytes, **more: Any) -> Answer:
    """Send something on a connection of its own and read one answer."""
    with wire(server, **more) as connection:
        return connection.send(data).answer()


def open_socket(address: tuple[str, int], path: str, **more: Any) -> Wire:
    """A WebSocket whose handshake is done."""
    connection = Wire(address, **more)
    connection.send(upgrade(path))
    assert connection.until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
    return connection
