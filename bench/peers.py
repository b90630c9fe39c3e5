"""Clients that are processes of their own, so that one can be stopped (SIGSTOP) as a hung machine would be.

A peer waits to be told what to be, joins, and says how its line ended: with a close code, or in words.
"""

from __future__ import annotations

import multiprocessing
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

from bench.lines import READER, SOCKET, opened
from bench.servers import Address
from bench.websocket import BINARY, CLOSE, PING, PONG, Inbox, packed

Role = Literal["publisher", "viewer", "mjpeg", "events"]
ROLES: Sequence[Role] = (
    "publisher",
    "viewer",
    "mjpeg",
    "events",
    "viewer",
    "mjpeg",
    "events",
    "viewer",
    "mjpeg",
    "events",
)
ENDED, CUT, RESET = "ended", "cut", "reset"
FPS = 10.0
RECEIVE_BUFFER = 32 * 1024  # so that a stopped one is felt at once
LAST_CHUNK = b"0\r\n\r\n"
_FORK = multiprocessing.get_context("fork")  # cheap enough for dozens; there are no threads yet when they start


@dataclass(frozen=True, slots=True)
class Part:
    """What a peer is to be. `jpeg` is a publisher's."""

    role: Role
    address: Address
    path: str
    jpeg: bytes = b""


class Peer:
    """One, seen from outside."""

    def __init__(self) -> None:
        self._pipe, theirs = _FORK.Pipe()
        self.process = _FORK.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def join(self, part: Part) -> None:
        self._pipe.send(part)

    def has_joined(self, patience_s: float) -> bool:
        """Raises what kept it from that."""
        if not self._pipe.poll(patience_s):
            return False
        said = self._pipe.recv()
        if isinstance(said, Exception):
            raise said
        return True

    def ended(self, patience_s: float) -> int | str | None:
        """A close code, `ended`, `cut` or `reset`; None if its line has not ended."""
        end: int | str | None = self._pipe.recv() if self._pipe.poll(patience_s) else None
        return end

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


@contextmanager
def peers(count: int) -> Iterator[list[Peer]]:
    made = [Peer() for _ in range(count)]
    try:
        yield made
    finally:
        for peer in made:
            peer.kill()


def _serve(pipe: Connection) -> None:
    while True:
        part: Part = pipe.recv()
        try:
            line = _joined(part)
        except OSError as error:
            pipe.send(error)
            continue
        pipe.send(None)
        try:
            pipe.send(_on_socket(line, part) if part.role in ("publisher", "viewer") else _reading(line))
        except OSError:
            pipe.send(RESET)
        line.close()


def _joined(part: Part) -> socket.socket:
    request = SOCKET if part.role in ("publisher", "viewer") else READER
    line = opened(part.address, request, part.path, 0, receive_buffer=RECEIVE_BUFFER)
    line.settimeout(None)
    return line


def _reading(line: socket.socket) -> str:
    """An endless answer is complete with its last chunk."""
    last = b""
    while data := line.recv(2**16):
        last = (last + data)[-len(LAST_CHUNK) :]
    return ENDED if last == LAST_CHUNK else CUT


def _on_socket(line: socket.socket, part: Part) -> int | str:
    """Until a close comes; a publisher sends pictures meanwhile."""
    inbox, due = Inbox(), time.monotonic()
    message = packed(BINARY, part.jpeg)
    while True:
        if part.jpeg and time.monotonic() >= due:
            line.sendall(message)
            due = time.monotonic() + 1 / FPS
        if not select.select([line], [], [], max(0.0, due - time.monotonic()) if part.jpeg else None)[0]:
            continue
        data = line.recv(2**16)
        if not data:
            return CUT
        inbox.feed(data)
        if (code := _close_code(line, inbox)) is not None:
            return code


def _close_code(line: socket.socket, inbox: Inbox) -> int | None:
    while (message := inbox.take()) is not None:
        opcode, payload = message
        if opcode == CLOSE:
            line.sendall(packed(CLOSE, payload[:2]))
            return int.from_bytes(payload[:2]) if payload else 1005
        if opcode == PING:
            line.sendall(packed(PONG, payload))
    return None
