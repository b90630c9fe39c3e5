"""Viewers in a process of their own who note of every result when it came, and how old its picture was by then."""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection

from bench.child import child
from bench.servers import Address
from bench.websocket import PING, PONG, TEXT, Inbox, connect, packed


@dataclass(frozen=True, slots=True)
class Heard:
    """A result: when it came, monotonic s, and the age of its picture then, s since it was captured."""

    at: float
    age_s: float


class Viewers:
    """The process, seen from outside."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def take(self) -> list[list[Heard]]:
        """What each has heard since this was last asked, in the order of their paths."""
        self._pipe.send("take")
        heard: list[list[Heard]] = self._pipe.recv()
        return heard


@contextmanager
def viewers(address: Address, paths: Sequence[str], analyzer: str) -> Iterator[Viewers]:
    """One viewer a path, of this analyzer's results."""
    with child(_serve, address, tuple(paths), analyzer) as pipe:
        pipe.recv()
        yield Viewers(pipe)


def _serve(pipe: Connection, address: Address, paths: Sequence[str], analyzer: str) -> None:
    lines = [connect(address, path) for path in paths]
    inboxes = [Inbox() for _ in paths]
    heard: list[list[Heard]] = [[] for _ in paths]
    poll = selectors.EpollSelector()
    poll.register(pipe, selectors.EVENT_READ, None)
    for number, line in enumerate(lines):
        poll.register(line, selectors.EVENT_READ, number)
    pipe.send("there")
    while True:
        for key, _ in poll.select():
            if key.data is None:
                pipe.recv()
                pipe.send(heard)
                heard = [[] for _ in paths]
            else:
                heard[key.data] += _read(lines[key.data], inboxes[key.data], analyzer)


def _read(line: socket.socket, inbox: Inbox, analyzer: str) -> Iterator[Heard]:
    data = line.recv(2**18)
    if not data:
        raise ConnectionError("the gateway closed a viewer")
    inbox.feed(data)
    while (message := inbox.take()) is not None:
        opcode, payload = message
        if opcode == PING:
            line.sendall(packed(PONG, payload))
        elif opcode == TEXT and b'"result"' in payload[:64]:
            result = json.loads(payload)
            if "latency_ms" in result["analyzers"].get(analyzer, ()):
                captured = datetime.fromisoformat(result["captured_at"]).timestamp()
                yield Heard(time.monotonic(), time.time() - captured)
