"""An observer: a viewer of one stream that writes down which states of an analyzer it is told, and which events."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from bench.servers import Address
from bench.websocket import PING, PONG, TEXT, Inbox, connect, packed


class Observer:
    """`states` of the analyzer, one after the other, each only when it differs from the last; `events` as they came."""

    def __init__(self, connection: socket.socket, analyzer: str) -> None:
        self._connection = connection
        self._analyzer = analyzer
        self.states: list[str] = []
        self.events: list[dict[str, Any]] = []

    def departures(self) -> int:
        """How often it was no longer ready."""
        return sum(before == "ready" for before in self.states[:-1])

    def read(self) -> None:
        """Until the connection ends."""
        inbox = Inbox()
        while data := self._connection.recv(2**20):
            inbox.feed(data)
            while (message := inbox.take()) is not None:
                opcode, payload = message
                if opcode == PING:
                    self._connection.sendall(packed(PONG, payload))
                elif opcode == TEXT:
                    self._take(json.loads(payload))

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "event":
            self.events.append(message)
        for name, state in _states(message.get("analyzers", ())):
            if name == self._analyzer and [state] != self.states[-1:]:
                self.states.append(state)


def _states(analyzers: Any) -> Iterable[tuple[str, str]]:
    """By name: a list in `hello` and `status`, a mapping in `result`."""
    if isinstance(analyzers, dict):
        return [(name, about["state"]) for name, about in analyzers.items()]
    return [(about["name"], about["state"]) for about in analyzers]


@contextmanager
def observing(address: Address, path: str, analyzer: str) -> Iterator[Observer]:
    """A viewer in a thread of its own."""
    connection = connect(address, path)
    observer = Observer(connection, analyzer)
    thread = Thread(target=observer.read, daemon=True)
    thread.start()
    try:
        yield observer
    finally:
        connection.shutdown(socket.SHUT_RDWR)
        thread.join()
        connection.close()


def wait_for(what: str, condition: Any, patience_s: float) -> bool:
    """Whether a condition came true in time; says what it waits for if it did not."""
    end = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > end:
            print(f"waited {patience_s:.0f} s in vain: {what}")
            return False
        time.sleep(0.05)
    return True
