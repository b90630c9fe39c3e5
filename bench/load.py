"""The load: generators, each in a process of its own that runs until it is stopped.

They do as little as can be done per picture, since they must be faster than the server: messages are built once, and
what viewers get is counted and thrown away by the kernel (`MSG_TRUNC`) without being copied.
"""

from __future__ import annotations

import multiprocessing
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_uint64
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event

import psutil

from bench.cores import Cores, pinned
from bench.servers import Address
from bench.websocket import connect

READY_S = 60.0
CATCH_UP_S = 0.02  # of being late that a publisher makes up for by sending faster
_BOUNDARY = b"--frame\r\n"
_SPAWN = multiprocessing.get_context("spawn")


class Generator:
    """A running generator, seen from outside."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)

    def cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def generating(cores: Cores, target: Callable[..., None], *arguments: object) -> Iterator[Generator]:
    """Run `target(ready, *arguments)` in a process on these cores; from when it has set `ready` to the end."""
    ready = _SPAWN.Event()
    process = _SPAWN.Process(target=target, args=(ready, *arguments), daemon=True)
    with pinned(cores):
        process.start()
    try:
        if not ready.wait(READY_S) or process.pid is None:
            raise RuntimeError(f"{target.__name__} did not get ready")
        yield Generator(process.pid)
    finally:
        process.terminate()
        process.join()


def flood(ready: Event, address: Address, paths: Sequence[str], message: bytes) -> None:
    """Send the message over one socket a path, again and again, as fast as the server takes it."""
    whole = memoryview(message)
    left: dict[int, memoryview] = {}
    sockets = {connection.fileno(): connection for connection in (connect(address, path) for path in paths)}
    poll = selectors.EpollSelector()
    for number, connection in sockets.items():
        connection.setblocking(False)
        poll.register(connection, selectors.EVENT_WRITE)
        left[number] = whole
    ready.set()
    while True:
        for key, _ in poll.select():
            sent = sockets[key.fd].send(left[key.fd])
            left[key.fd] = left[key.fd][sent:] or whole


def publish(ready: Event, address: Address, path: str, message: bytes, fps: float) -> None:
    """Send the message over one socket, `fps` times a second or as often as the server takes it."""
    connection = connect(address, path)
    ready.set()
    due = time.perf_counter()
    while True:
        connection.sendall(message)
        due = max(due + 1 / fps, time.perf_counter() - CATCH_UP_S)
        time.sleep(max(0.0, due - time.perf_counter()))


class Taken:
    """What the viewers have got so far, shared between processes: bytes in all, and bytes a picture takes up."""

    def __init__(self) -> None:
        self.total: Synchronized[int] = _SPAWN.Value(c_uint64, 0)
        self.a_picture: Synchronized[int] = _SPAWN.Value(c_uint64, 0)

    def pictures(self) -> float:
        return self.total.value / self.a_picture.value


def watch(ready: Event, address: Address, path: str, viewers: int, taken: Taken) -> None:
    """Read MJPEG over `viewers` sockets, as fast as it comes."""
    sockets = {connection.fileno(): connection for connection in (_viewer(address, path) for _ in range(viewers))}
    taken.a_picture.value = _picture_bytes(next(iter(sockets.values())))
    poll = selectors.EpollSelector()
    for connection in sockets.values():
        poll.register(connection, selectors.EVENT_READ)
    ready.set()
    buffer, total = bytearray(2**20), 0
    while True:
        for key, _ in poll.select():
            got = sockets[key.fd].recv_into(buffer, 0, socket.MSG_TRUNC)
            if not got:
                raise ConnectionError("the server closed a viewer")
            total += got
        taken.total.value = total


def _viewer(address: Address, path: str) -> socket.socket:
    connection = socket.create_connection(address)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n\r\n".encode())
    return connection


def _picture_bytes(connection: socket.socket) -> int:
    """How far two pictures are apart in the stream, headers and framing included."""
    data = bytearray()
    while data.count(_BOUNDARY) < 3:
        got = connection.recv(2**16)
        if not got:
            raise ConnectionError(f"no MJPEG: {bytes(data[:200])!r}")
        data += got
    first = data.index(_BOUNDARY, data.index(_BOUNDARY) + 1)
    second = data.index(_BOUNDARY, first + 1)
    if b"\r\n\r\n\xff\xd8" not in data[first:second]:
        raise ConnectionError("a part without a JPEG")
    return second - first
