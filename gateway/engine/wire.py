"""One framing between the gateway and its child processes: a JSON header and a payload, both length-prefixed.

    u32 header length | u32 payload length | header (JSON object) | payload (bytes)

Big-endian, over a socketpair. A pickled array never crosses it, and its end of file tells a child that its parent died.
"""

from __future__ import annotations

import asyncio
import json
import socket
from struct import Struct
from typing import Any

from pydantic_core import from_json

PREFIX = Struct(">II")
MAX_PART = 256 * 2**20

Header = dict[str, Any]


class BrokenWire(ConnectionError):
    """The other side is gone or speaks nonsense."""


def pack(header: Header, payload: bytes = b"") -> bytes:
    """Prefix and header; the payload follows them on the wire as it is. Lone surrogates, which no text may hold, go."""
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    return PREFIX.pack(len(text), len(payload)) + text


def _lengths(prefix: bytes) -> tuple[int, int]:
    header, payload = PREFIX.unpack(prefix)
    if header > MAX_PART or payload > MAX_PART:
        raise BrokenWire(f"a message of {header} + {payload} bytes; the limit is {MAX_PART}")
    return header, payload


# --- the gateway's side ----------------------------------------------------------------------------------------------


async def read(reader: asyncio.StreamReader) -> tuple[Header, bytes]:
    """The next message. Raises `BrokenWire` at the end of the stream, or when it makes no sense."""
    try:
        header_length, payload_length = _lengths(await reader.readexactly(PREFIX.size))
        header = from_json(await reader.readexactly(header_length))
        return header, await reader.readexactly(payload_length)
    except BrokenWire:
        raise
    except (asyncio.IncompleteReadError, ConnectionError):
        raise BrokenWire("the child process has gone") from None
    except ValueError as error:  # nested too deep, say
        raise BrokenWire(f"the child process sent no JSON: {error}") from None


def write(writer: asyncio.StreamWriter, header: Header, payload: bytes = b"") -> None:
    """Queue a message; `await writer.drain()` where the payload is large."""
    writer.write(pack(header, payload))
    if payload:
        writer.write(payload)


# --- the child's side, blocking --------------------------------------------------------------------------------------


def receive(connection: socket.socket) -> tuple[Header, bytes]:
    """The next message, waiting for it. Raises `BrokenWire` when the parent has gone."""
    header_length, payload_length = _lengths(_exactly(connection, PREFIX.size))
    header = from_json(_exactly(connection, header_length))
    return header, _exactly(connection, payload_length)


def send(connection: socket.socket, header: Header, payload: bytes = b"") -> None:
    """Send a whole message. One thread at a time per connection."""
    connection.sendall(pack(header, payload))
    if payload:
        connection.sendall(payload)


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise BrokenWire("the parent process has gone")
        view = view[count:]
    return bytes(data)
