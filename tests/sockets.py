"""The stream socket, spoken to with the plain `websockets` library and none of our code."""

from __future__ import annotations

import json
from struct import Struct
from typing import Any, NamedTuple

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.server import PATIENCE_S, Server

HEADER = Struct(">2sBBHHIIQ")


class Pushed(NamedTuple):
    """A picture as a viewer's binary message brings it."""

    seq: int
    micros: int
    jpeg: bytes


def socket_to(server: Server, stream_id: str, query: str = "", **more: Any) -> ClientConnection:
    url = f"{server.ws}/ws/stream/{stream_id}{query}"
    socket: ClientConnection = connect(url, proxy=None, close_timeout=2, **more)
    return socket


def framed(jpeg: bytes, seq: int, micros: int = 0, meta: bytes = b"") -> bytes:
    return HEADER.pack(b"FG", 1, 1, HEADER.size + len(meta), 0, seq, 0, micros) + meta + jpeg


def unframed(message: bytes) -> Pushed:
    magic, version, kind, length, flags, seq, zero, micros = HEADER.unpack_from(message)
    assert (magic, version, kind, flags, zero) == (b"FG", 1, 1, 0, 0)
    return Pushed(seq, micros, message[length:])


def told(socket: ClientConnection, kind: str, within_s: float = PATIENCE_S) -> dict[str, Any]:
    """The next JSON message of a type; others, and pictures, are passed over."""
    while True:
        message = socket.recv(timeout=within_s)
        if isinstance(message, str) and (value := json.loads(message))["type"] == kind:
            said: dict[str, Any] = value
            return said


def shown(socket: ClientConnection) -> Pushed:
    """The next picture of a viewer that asked for binary ones."""
    while True:
        message = socket.recv(timeout=PATIENCE_S)
        if isinstance(message, bytes):
            return unframed(message)


def pong(socket: ClientConnection) -> list[dict[str, Any]]:
    """All that was told until the server had read everything sent so far."""
    socket.send('{"type":"ping"}')
    heard: list[dict[str, Any]] = []
    while True:
        message = socket.recv(timeout=PATIENCE_S)
        if isinstance(message, str):
            if (value := json.loads(message))["type"] == "pong":
                return heard
            heard.append(value)


def farewell(socket: ClientConnection) -> tuple[list[dict[str, Any]], int, str]:
    """What is told until the server closes, its close code and reason."""
    heard: list[dict[str, Any]] = []
    while True:
        try:
            message = socket.recv(timeout=PATIENCE_S)
        except ConnectionClosed as closed:
            end = closed.rcvd
            break
        if isinstance(message, str):
            heard.append(json.loads(message))
    assert end is not None, "the connection was reset"
    return heard, end.code, end.reason
