"""A WebSocket client that costs next to nothing: messages are built once, and sent and taken as bytes (RFC 6455)."""

from __future__ import annotations

import socket
from struct import pack, unpack_from

from bench.servers import Address

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_FIN, _MASKED = 0x80, 0x80


def connect(address: Address, path: str) -> socket.socket:
    """A socket behind the handshake, blocking. Raises `ConnectionError` if the server refuses."""
    connection = socket.create_connection(address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):  # byte by byte: what follows the headers is already a message
        byte = connection.recv(1)
        if not byte:
            break
        answer += byte
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise ConnectionError(f"{path}: {answer[:100]!r}")
    return connection


def packed(opcode: int, payload: bytes) -> bytes:
    """One whole message of a client. Its mask is zero: legal, undone by the server like any other, free for us."""
    length = len(payload)
    if length < 126:
        head = pack(">BB", _FIN | opcode, _MASKED | length)
    elif length < 2**16:
        head = pack(">BBH", _FIN | opcode, _MASKED | 126, length)
    else:
        head = pack(">BBQ", _FIN | opcode, _MASKED | 127, length)
    return head + bytes(4) + payload


class Inbox:
    """Cuts what a server sends into messages: feed it bytes, take (opcode, payload)."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        self._data += data

    def take(self) -> tuple[int, bytes] | None:
        """The next whole message, if it is there."""
        if len(self._data) < 2:
            return None
        short = self._data[1]
        start = {126: 4, 127: 10}.get(short, 2)
        if len(self._data) < start:
            return None
        length = short if start == 2 else unpack_from(">H" if start == 4 else ">Q", self._data, 2)[0]
        end = start + length
        if len(self._data) < end:
            return None
        opcode, payload = self._data[0] & 0x0F, bytes(memoryview(self._data)[start:end])
        del self._data[:end]
        return opcode, payload
