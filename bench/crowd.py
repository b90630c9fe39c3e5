"""A crowd of clients in one process: to each stream a publisher with a steady pace, and a viewer that reads it all."""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from bench.child import child
from bench.servers import Address
from bench.websocket import BINARY, PING, PONG, TEXT, Inbox, connect, packed

SETTLE_S = 0.5  # after the last frame, for the last results
LATE = 0.5  # of a frame's time: a frame sent later than that was late
MOST_LATE = 0.02  # of all frames; beyond it the crowd was the bottleneck
_MUTE = packed(TEXT, b'{"type":"subscribe","frames":"none","topics":[]}')


@dataclass(frozen=True, slots=True)
class Task:
    """What the crowd is to do: push the JPEG to each path so many times a second, for so many frames each."""

    paths: tuple[str, ...]
    jpeg: bytes
    fps: float
    frames: int


@dataclass(slots=True)
class Seen:
    """Frames sent in all, how many of them late, and by analyzer: age of each result in ms, per path."""

    sent: int = 0
    late: int = 0
    ages: dict[str, list[list[float]]] = field(default_factory=dict)

    @property
    def void(self) -> bool:
        return self.late > MOST_LATE * self.sent

    def all_ages(self, analyzer: str) -> list[float]:
        return [age for ages in self.ages.get(analyzer, []) for age in ages]


class Crowd:
    """The process, seen from outside."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def begin(self, task: Task) -> None:
        self._pipe.send(task)

    def end(self) -> Seen:
        """Wait until the task is done. Raises what ended it early."""
        seen: Seen | Exception = self._pipe.recv()
        if isinstance(seen, Exception):
            raise seen
        return seen

    def run(self, task: Task) -> Seen:
        self.begin(task)
        return self.end()


@contextmanager
def crowd(address: Address) -> Iterator[Crowd]:
    """The process, idle between tasks."""
    with child(_serve, address) as pipe:
        yield Crowd(pipe)


def _serve(pipe: Connection, address: Address) -> None:
    while True:
        task: Task = pipe.recv()
        try:
            members = _Members(address, task)
            try:
                pipe.send(members.run())
            finally:
                members.close()
        except OSError as error:  # the gateway was killed, perhaps on purpose
            pipe.send(error)


class _Members:
    """Sockets of one task."""

    def __init__(self, address: Address, task: Task) -> None:
        self._task = task
        self._publishers = [connect(address, path) for path in task.paths]
        self._viewers = {connect(address, path): number for number, path in enumerate(task.paths)}
        self._inboxes = {client: Inbox() for client in (*self._publishers, *self._viewers)}
        self._poll = selectors.EpollSelector()
        for client in self._inboxes:
            self._poll.register(client, selectors.EVENT_READ)
        self._seen = Seen()
        self._ages: dict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in task.paths])

    def run(self) -> Seen:
        message, streams = packed(BINARY, self._task.jpeg), len(self._publishers)
        for publisher in self._publishers:
            publisher.sendall(_MUTE)
        pause, began = 1 / self._task.fps / streams, time.perf_counter()
        for number in range(self._task.frames * streams):
            due = began + number * pause
            self._read_until(due)
            self._seen.late += time.perf_counter() > due + LATE / self._task.fps
            self._publishers[number % streams].sendall(message)
            self._seen.sent += 1
        self._read_until(time.perf_counter() + SETTLE_S)
        self._seen.ages = dict(self._ages)
        return self._seen

    def _read_until(self, end: float) -> None:
        while (left := end - time.perf_counter()) > 0:
            for key, _ in self._poll.select(left):
                assert isinstance(key.fileobj, socket.socket)
                self._read(key.fileobj)

    def _read(self, client: socket.socket) -> None:
        data = client.recv(2**20)
        if not data:
            raise ConnectionError("the gateway closed a client")
        inbox = self._inboxes[client]
        inbox.feed(data)
        while (message := inbox.take()) is not None:
            opcode, payload = message
            if opcode == PING:
                client.sendall(packed(PONG, payload))
            elif opcode == TEXT and client in self._viewers:
                self._take(self._viewers[client], payload)

    def _take(self, stream: int, payload: bytes) -> None:
        message = json.loads(payload)
        if message["type"] == "result":
            for name, outcome in message["analyzers"].items():
                if "age_ms" in outcome:
                    self._ages[name][stream].append(outcome["age_ms"])

    def close(self) -> None:
        for client in self._inboxes:
            client.close()
        self._poll.close()


def analyzed(stream: Mapping[str, Any], but: Sequence[str] = ()) -> int:
    """Frames that a stream's analyzers have analysed, each counted by itself."""
    return sum(each["analyzed"] for each in stream["analyzers"] if each["name"] not in but)
