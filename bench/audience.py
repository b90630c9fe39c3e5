"""Viewers in a process of their own who take all they get: half over the socket, half MJPEG. Counted in bytes."""

from __future__ import annotations

import multiprocessing
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_uint64
from multiprocessing.sharedctypes import SynchronizedArray
from multiprocessing.synchronize import Event

from bench.cores import all_cores
from bench.lines import READER, SOCKET, opened
from bench.load import generating
from bench.servers import Address
from bench.websocket import PING, PONG, Inbox, connect, packed

LATE = 0.5  # of a picture's time: one sent later than that was late
_SPAWN = multiprocessing.get_context("spawn")


class Audience:
    """Bytes that each viewer has got so far."""

    def __init__(self, viewers: int) -> None:
        self.viewers = viewers
        self.taken: SynchronizedArray[int] = _SPAWN.Array(c_uint64, viewers)
        self.gone = _SPAWN.Value(c_uint64, 0)

    def read(self) -> list[int]:
        return [self.taken[number] for number in range(self.viewers)]


class Publisher:
    """Pictures sent so far, and how many of them late."""

    def __init__(self) -> None:
        self.sent = _SPAWN.Value(c_uint64, 0)
        self.late = _SPAWN.Value(c_uint64, 0)


def addresses(number: int, socket_path: str, video_path: str) -> tuple[str, str]:
    """How viewer `number` asks: a socket or MJPEG, by turns."""
    return (SOCKET, f"{socket_path}?frames=binary") if number % 2 else (READER, video_path)


@contextmanager
def watching(address: Address, paths: tuple[str, str], audience: Audience) -> Iterator[None]:
    """From when all of them are there."""
    with generating(all_cores(), _watch, address, paths, audience):
        yield


@contextmanager
def publishing(address: Address, path: str, message: bytes, fps: float, publisher: Publisher) -> Iterator[None]:
    with generating(all_cores(), _publish, address, path, message, fps, publisher):
        yield


def _watch(ready: Event, address: Address, paths: tuple[str, str], audience: Audience) -> None:
    lines: dict[int, tuple[int, socket.socket]] = {}
    inboxes: dict[int, Inbox] = {}
    poll = select.epoll()
    for number in range(audience.viewers):
        request, path = addresses(number, *paths)
        line = opened(address, request, path, number)
        lines[line.fileno()] = number, line
        if request == SOCKET:
            inboxes[line.fileno()] = Inbox()
        poll.register(line, select.EPOLLIN)
    ready.set()
    while True:
        for descriptor, _ in poll.poll():
            number, line = lines[descriptor]
            got = _taken(line, inboxes.get(descriptor))
            audience.taken[number] += got
            if not got:
                poll.unregister(descriptor)
                audience.gone.value += 1


def _taken(line: socket.socket, inbox: Inbox | None) -> int:
    """Bytes read of what is there; pings of a socket are answered. 0: it has ended."""
    try:
        data = line.recv(2**20)
        if inbox is not None:
            _answer(data, line, inbox)
    except ConnectionError:
        return 0
    return len(data)


def _publish(ready: Event, address: Address, path: str, message: bytes, fps: float, publisher: Publisher) -> None:
    line, inbox, due = connect(address, path), Inbox(), time.perf_counter()
    ready.set()
    while True:
        while (left := due - time.perf_counter()) > 0:
            if select.select([line], [], [], left)[0]:
                data = line.recv(2**16)
                if not data:
                    raise ConnectionError("the server closed the publisher")
                _answer(data, line, inbox)
        publisher.late.value += time.perf_counter() > due + LATE / fps
        line.sendall(message)
        publisher.sent.value += 1
        due = max(due + 1 / fps, time.perf_counter() - 1 / fps)


def _answer(data: bytes, line: socket.socket, inbox: Inbox) -> None:
    """Pongs for pings; the rest is forgotten."""
    inbox.feed(data)
    while (message := inbox.take()) is not None:
        if message[0] == PING:
            line.sendall(packed(PONG, message[1]))
