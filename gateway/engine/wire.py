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
MAX_REPORT = 8 * 2**20  # of what a worker says of one call; parsing it holds up everybody else in the gateway

Header = dict[str, Any]


class BrokenWire(ConnectionError):
    """The other side is gone or speaks nonsense."""


class Gone(BrokenWire):
    """The other side is gone."""


def pack(header: Header, *payload: bytes) -> bytes:
    """Prefix and header; the parts of the payload follow them on the wire as they are.

    Lone surrogates, which no text may hold, go. Raises `ValueError` or `TypeError` for what JSON has no word for.
    """
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    return PREFIX.pack(len(text), sum(map(len, payload))) + text


def _lengths(prefix: bytes, most: int = MAX_PART) -> tuple[int, int]:
    header, payload = PREFIX.unpack(prefix)
    if header > most or payload > most:
        raise BrokenWire(f"a message of {header} + {payload} bytes; the limit is {most}")
    return header, payload


def _object(header: object) -> Header:
    if not isinstance(header, dict):
        raise BrokenWire(f"a message is an object, got {type(header).__name__}")
    return header


# --- the gateway's side ----------------------------------------------------------------------------------------------


async def read(reader: asyncio.StreamReader, most: int = MAX_PART) -> tuple[Header, bytes]:
    """The next message, no part of it larger than `most`. Raises `Gone` at the end of the stream, else `BrokenWire`."""
    try:
        header_length, payload_length = _lengths(await reader.readexactly(PREFIX.size), most)
        header = from_json(await reader.readexactly(header_length), allow_inf_nan=False)
        return _object(header), await reader.readexactly(payload_length)
    except BrokenWire:
        raise
    except (asyncio.IncompleteReadError, ConnectionError):
        raise Gone("the child process has gone") from None
    except ValueError as error:  # nested too deep, say
        raise BrokenWire(f"the child process sent no JSON: {error}") from None


def write(writer: asyncio.StreamWriter, header: Header, *payload: bytes) -> None:
    """Queue a message; `await writer.drain()` where the payload is large."""
    writer.write(pack(header, *payload))
    for part in payload:
        writer.write(part)


# --- the child's side, blocking --------------------------------------------------------------------------------------


def receive(connection: socket.socket) -> tuple[Header, bytes]:
    """The next message, waiting for it. Raises `BrokenWire` when the parent has gone."""
    header_length, payload_length = _lengths(_exactly(connection, PREFIX.size))
    header = from_json(_exactly(connection, header_length))
    return header, _exactly(connection, payload_length)


def send(connection: socket.socket, header: Header, *payload: bytes, most: int = MAX_PART) -> None:
    """Send a whole message. One thread at a time per connection. Raises `ValueError` for a header above `most`."""
    packed = pack(header, *payload)
    if len(packed) > most + PREFIX.size:
        raise ValueError(f"{len(packed)} bytes of JSON; the limit is {most}")
    connection.sendall(packed)
    for part in payload:
        connection.sendall(part)


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise BrokenWire("the parent process has gone")
        view = view[count:]
    return bytes(data)
