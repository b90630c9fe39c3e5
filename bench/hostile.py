"""A hostile peer: sends bytes as they are, and says how that ended.

It keeps to nothing, but waits for the end: an answer to everything of HTTP, and behind a frame a ping that is answered
or a close. What it sees goes by the words of `Outcome`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TypeVar

from bench.corpus import HOST, STREAM, Message
from bench.corpus.message import frame
from bench.servers import Address
from bench.websocket import BINARY, CLOSE, PING, PONG, TEXT, Inbox

T = TypeVar("T")

PATIENCE_S = 15.0  # the longest deadline of the gateway's is 10 s
MOMENT_S = 0.05
OPEN, EOF, RESET, SILENT = "open", "eof", "reset", "silent"
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ENDLESS = re.compile(rb"\r\ncontent-type: *(multipart/x-mixed-replace|text/event-stream)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`answers`: statuses, each with the code of its problem document, or codes of errors told (status 0).

    `end`: a close code, or `open` (the server waits for more), `eof`, `reset`, `silent` (nothing within the patience).
    """

    answers: tuple[tuple[int, str], ...]
    end: int | str


class Peer:
    """Somebody who sends malformed messages to one stream, from an address of his own."""

    def __init__(self, address: Address, stream_path: str, source: str = "127.0.0.1") -> None:
        self._address = address
        self._source = source
        self._path = stream_path
        self._socket: _Socket | None = None
        self.refused = 0

    @property
    def stream_id(self) -> bytes:
        return self._path.rsplit("/", 1)[1].encode()

    async def send(self, message: Message) -> Outcome:
        """Send it and wait for the end of it. Raises `StreamGone` when its stream is no more."""
        host = b"%b:%d" % (self._address[0].encode(), self._address[1])
        data = message.data.replace(STREAM, self.stream_id).replace(HOST, host)
        if not message.on_socket:
            return await _request(self._address, self._source, data, whole=message.whole)
        if self._socket is None:
            self._socket = await _Socket.open(self._address, self._source, self._path)
        outcome = await self._socket.send(data, whole=message.whole)
        if message.last or outcome.end != OPEN:
            await self.close()
        return outcome

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()
            self._socket = None


class StreamGone(ConnectionError):
    """The upgrade was refused. `outcome` says with what."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"refused: {outcome}")
        self.outcome = outcome


def ask(address: Address, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    """A plain request, as any client makes it."""
    connection = HTTPConnection(*address, timeout=30.0)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


async def _within(wait: Awaitable[T], patience_s: float | None = None) -> T:
    async with asyncio.timeout(PATIENCE_S if patience_s is None else patience_s):
        return await wait


async def _connection(address: Address, source: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await _within(asyncio.open_connection(*address, local_addr=(source, 0)))


# --- HTTP ------------------------------------------------------------------------------------------------------------


async def _request(address: Address, source: str, data: bytes, *, whole: bool) -> Outcome:
    reader, writer = await _connection(address, source)
    got = bytearray()
    try:
        with suppress(ConnectionError):  # refused before it has read all; its answer may be there
            writer.write(data)
            await _within(writer.drain())
        end = await _read(reader, writer, got, whole=whole)
    except ConnectionError:
        end = RESET
    except TimeoutError:
        end = SILENT
    finally:
        writer.transport.abort()
    return Outcome(tuple(answers(bytes(got))[0]), end)


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, got: bytearray, *, whole: bool) -> str:
    """Until all that was asked is answered, or the connection ends."""
    if not whole and not await _some(reader, got, MOMENT_S):
        with suppress(OSError, RuntimeError):
            writer.write_eof()
    while not reader.at_eof():
        done = answers(bytes(got))[1]
        if not await _some(reader, got, MOMENT_S if done else PATIENCE_S):
            if done:
                return OPEN
            raise TimeoutError
    return EOF


async def _some(reader: asyncio.StreamReader, got: bytearray, patience_s: float) -> bool:
    """Whether something came in time, the end included."""
    try:
        got += await _within(reader.read(2**16), patience_s)
    except TimeoutError:
        return False
    return True


def answers(data: bytes) -> tuple[list[tuple[int, str]], bool]:
    """The answers that have begun, and whether the last is complete (or never will be)."""
    found: list[tuple[int, str]] = []
    done = False
    while head := _STATUS.match(data):
        top, blank, body = data.partition(b"\r\n\r\n")
        if not blank:
            return [*found, (int(head[1]), "")], False
        length = _LENGTH.search(top)
        size = int(length[1]) if length else _unmeasured(int(head[1]), top, body)
        found.append((int(head[1]), _code(body)))
        done = size is not None and len(body) >= size
        data = body[size:] if done else b""
    return found, done


def _unmeasured(status: int, top: bytes, body: bytes) -> int | None:
    """Bytes of a body without a length, once that can be said."""
    if status in (204, 304) or status < 200 or _ENDLESS.search(top):
        return 0
    if b"chunked" in top.lower() and body.endswith(b"0\r\n\r\n"):
        return len(body)
    return None


def _code(body: bytes) -> str:
    """Of a problem document."""
    found = re.match(rb'\s*\{.*?"code"\s*:\s*"([a-z0-9_]+)"', body, re.DOTALL)
    return found[1].decode() if found and b'"title"' in body else ""


# --- WebSocket -------------------------------------------------------------------------------------------------------


class _Socket:
    """One behind its handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._inbox = Inbox()
        self._pings = 0

    @classmethod
    async def open(cls, address: Address, source: str, path: str) -> _Socket:
        reader, writer = await _connection(address, source)
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        try:
            head = await _within(reader.readuntil(b"\r\n\r\n"))
            if not head.startswith(b"HTTP/1.1 101 "):
                body = await _within(reader.read(2**16))
                raise StreamGone(Outcome(tuple(answers(head + body)[0]), EOF))
        except (asyncio.IncompleteReadError, TimeoutError) as error:
            raise StreamGone(Outcome((), SILENT if isinstance(error, TimeoutError) else EOF)) from None
        return cls(reader, writer)

    async def send(self, data: bytes, *, whole: bool) -> Outcome:
        """Send it and a ping behind it, or the end of our half; and read until that is answered."""
        told: list[tuple[int, str]] = []
        try:
            with suppress(ConnectionError):
                self._writer.write(data)
                await self._write_on(whole)
            end: int | str = await _within(self._end(told))
        except ConnectionError:
            end = RESET
        except TimeoutError:
            end = SILENT
        return Outcome(tuple(told), end)

    async def _write_on(self, whole: bool) -> None:
        if whole:
            self._pings += 1
            self._writer.write(frame(b"%d" % self._pings, PING))
        await _within(self._writer.drain())
        if not whole and not self._writer.transport.is_closing():
            await asyncio.sleep(MOMENT_S)
            with suppress(OSError, RuntimeError):
                self._writer.write_eof()

    async def _end(self, told: list[tuple[int, str]]) -> int | str:
        while True:
            while (message := self._inbox.take()) is not None:  # also what stood behind the last pong
                opcode, payload = message
                if opcode == CLOSE:
                    await self._until_closed()
                    return int.from_bytes(payload[:2]) if payload else 1005
                if opcode == PONG and payload == b"%d" % self._pings:
                    return OPEN
                if opcode in (TEXT, BINARY):
                    told += _errors(opcode, payload)
            if not (data := await self._reader.read(2**16)):
                return EOF
            self._inbox.feed(data)

    async def _until_closed(self) -> None:
        """Who is told to go goes, and the line must end."""
        with suppress(ConnectionError, RuntimeError):
            self._writer.write(frame(b"\x03\xe8", CLOSE))
            while await self._reader.read(2**16):
                pass

    async def close(self) -> None:
        self._writer.transport.abort()


def _errors(opcode: int, payload: bytes) -> list[tuple[int, str]]:
    if opcode != TEXT:
        return []
    message = json.loads(payload)
    return [(0, message["code"])] if message["type"] == "error" else []
