"""Many connections to a server at once: opened from loopback addresses of their own, held open, looked at."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from bench.servers import Address

PER_SOURCE = 256  # connections of one loopback address
OPEN_FILES = 16_384
PATIENCE_S = 30.0
SOCKET = (
    "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{more}"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
READER = "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{more}\r\n"


def allow_open_files(wanted: int = OPEN_FILES) -> int:
    """Raise the limit of this process, which servers started from it inherit; what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return max(soft, most)


def opened(
    address: Address, request: str, path: str, number: int, *, more: str = "", receive_buffer: int | None = None
) -> socket.socket:
    """Connection of this number, with the head of its answer read. Raises `ConnectionError` if it is no good one."""
    line = socket.socket()
    if receive_buffer is not None:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    line.settimeout(PATIENCE_S)
    line.bind((f"127.0.2.{number // PER_SOURCE + 1}", 0))
    line.connect(address)
    line.sendall(request.format(path=path, host=address[0], port=address[1], more=more).encode())
    head = _head(line)
    if head.startswith((b"HTTP/1.1 101 ", b"HTTP/1.1 200 ")):
        return line
    line.close()
    raise ConnectionError(f"{path}: {head[:200]!r}")


def _head(line: socket.socket) -> bytes:
    """Up to the blank line: what follows belongs to who asked. All that there is where none comes."""
    end, until = b"\r\n\r\n", time.monotonic() + PATIENCE_S
    while True:
        data = line.recv(2**14, socket.MSG_PEEK)
        if end in data:
            return line.recv(data.index(end) + len(end))
        if not data or len(data) == 2**14 or time.monotonic() > until:
            return data
        time.sleep(0.001)  # peeking returns at once as long as there is something


@contextmanager
def closing(lines: Iterable[socket.socket]) -> Iterator[None]:
    try:
        yield
    finally:
        for line in lines:
            line.close()
