"""A client of one gateway: asks for a stream, and keeps one socket to it, coming back after a loss.

It is what `push` and `watch` talk through. The rules it keeps to are in client_rules.py.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, quote, urljoin, urlsplit

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from gateway.commands.client_rules import Pacing, Rest, Stop, after_asking, settled
from gateway.protocol import SUBPROTOCOL, pack_frame

MAX_MESSAGE = 16 * 2**20  # bytes of one message from the gateway; the library's own limit is 1 MiB
BACKOFF_S, BACKOFF_MAX_S = 0.25, 5.0
GRACE_S = 20.0  # how long a gateway that does not answer is tried again; the default of its own grace
ABNORMAL = 1006  # RFC 6455 7.1.5: closed without a close frame

Tell = Callable[[dict[str, Any]], None]


class Refused(Exception):
    """The gateway does not do what was asked; one line saying why."""


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway, and one stream of it if `stream_id` is given. `token` goes along with every request."""

    base: str
    stream_id: str | None = None
    token: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, token: str | None = None) -> Target:
        """Of http://HOST:PORT, its /stream/ID, /stream/video/ID, /viewer?stream_id=ID, /viewer/ID. Raises `Refused`."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refused(f"expected http://HOST:PORT[/stream/ID], got {url!r}")
        words = [word for word in parts.path.split("/") if word]
        stream_id = parse_qs(parts.query).get("stream_id", [None])[0]
        if words[:1] == ["stream"] and len(words) > 1:
            stream_id = words[2] if words[1] == "video" and len(words) > 2 else words[1]
        elif words[:1] == ["viewer"] and len(words) == 2:
            stream_id = words[1]
        elif words and words != ["viewer"]:
            raise Refused(f"{url!r} names no stream; expected http://HOST:PORT[/stream/ID]")
        return cls(f"{parts.scheme}://{parts.netloc}", stream_id, token)

    @property
    def by_token(self) -> bool:
        """Whether a token stands in the place of the stream's id."""
        return (self.stream_id or "").startswith("fg")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def url(self, path: str) -> str:
        return urljoin(self.base, path)

    def socket_url(self, path: str) -> str:
        return self.url(path).replace("http", "ws", 1)


async def request_stream(target: Target, *, name: str, analyzers: list[str] | None) -> dict[str, Any]:
    """`POST /stream/request`: the answer of api.md section 1. Raises `Refused`."""
    return await _call(target, "POST", "/stream/request", {"name": name, "analyzers": analyzers})


async def get_stream(target: Target) -> dict[str, Any]:
    """`GET /stream/{id}`. Raises `Refused`."""
    return await _call(target, "GET", f"/stream/{quote(target.stream_id or '', safe='')}")


async def _call(target: Target, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    url = target.url(path)
    try:
        async with httpx2.AsyncClient(timeout=10.0, headers=target.headers) as http:
            answer = await http.request(method, url, json=body)
    except (httpx2.RequestError, httpx2.InvalidURL) as error:
        raise Refused(f"no gateway answers at {url}: {error}") from None
    found = _json(answer)
    if answer.status_code >= 400:
        raise Refused(f"{url}: {answer.status_code}: {found.get('detail') or found.get('title') or 'refused'}")
    return found


def _json(answer: httpx2.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@dataclass(slots=True)
class _Picture:
    """A picture that is to be sent, or was and is not yet acknowledged."""

    image: bytes = field(repr=False)
    captured_at: datetime
    seq: int = -1


class StreamClient:
    """One socket of one stream. `run` keeps it until the stream is over; beside it, `send` publishes.

    A publisher numbers its frames from the server's `next_seq` on. A patient one loses none: it waits for credits, and
    sends again, in order, what the server never got.
    """

    def __init__(self, target: Target, path: str, tell: Tell, *, publish: bool, patient: bool = False) -> None:
        self._target, self._path, self._tell = target, path, tell
        self._publish, self._patient = publish, patient
        self._pacing = Pacing()
        self._socket: ClientConnection | None = None
        self._bye: dict[str, Any] | None = None
        self._resume: str | None = None
        self._kept: deque[_Picture] = deque(maxlen=256)
        self._outgoing: deque[_Picture] = deque()
        self._word = asyncio.Event()
        self.over: str | None = None
        self.limits: dict[str, Any] = {}
        self.sent = self.acked = 0
        self.dropped: Counter[str] = Counter()  # here, by reason
        self.dropped_there: dict[str, Any] = {}  # by the gateway, as it says in its acks

    @property
    def interval(self) -> float:
        """Seconds between pictures that the gateway asks for; 0 if it does not."""
        return self._pacing.interval

    async def run(self) -> str:
        """Stay connected until the stream is over; the reason."""
        attempt, lost_at = 0, _now()
        while self.over is None:
            self._bye = None
            code = await self._connection()
            if self.limits:  # it was a connection that worked: count afresh
                attempt, lost_at, self.limits = 0, _now(), {}
            step = settled(code, self._bye) or after_asking(await self._ask())
            if isinstance(step, Stop):
                self.over = step.reason
            elif _now() - lost_at > GRACE_S:
                self.over = "unreachable"
            else:
                delay = min(BACKOFF_MAX_S, BACKOFF_S * 2**attempt) * random.uniform(0.5, 1.0)
                attempt += 1
                await asyncio.sleep(max(step.after_s, delay))
        self._word.set()
        return self.over

    async def _connection(self) -> int:
        """One connection from its beginning to its end; the close code."""
        try:
            socket = await connect(
                self._target.socket_url(self._path),
                subprotocols=[Subprotocol(SUBPROTOCOL)] if self._publish else None,
                compression=None,
                max_size=MAX_MESSAGE,
                open_timeout=10.0,
                additional_headers=self._target.headers,
            )
        except (OSError, TimeoutError, WebSocketException):
            return ABNORMAL
        try:
            async with socket as self._socket:
                return await self._listen(socket)
        finally:
            self._socket = None
            self._pacing.disconnect()
            self._word.set()

    async def _listen(self, socket: ClientConnection) -> int:
        """Take in what the gateway says until it closes; the close code."""
        if self._publish:
            with suppress(ConnectionClosed):  # what was said before it closed is still to be read
                await socket.send(json.dumps({"type": "hello", "acks": True, "resume": self._resume}))
        with suppress(ConnectionClosed):
            async for message in socket:
                if isinstance(message, str):
                    self._receive(json.loads(message))
        return socket.close_code or ABNORMAL

    def _receive(self, message: dict[str, Any]) -> None:
        match message.get("type"):
            case "hello":
                self._hello(message)
            case "ack":
                self._ack(message)
            case "slow_down":
                self._pacing.slow_down(message)
            case "bye":
                self._bye = message
        self._word.set()
        self._tell(message)

    def _hello(self, message: dict[str, Any]) -> None:
        self._pacing.hello(message)
        self.limits = message.get("limits", {"known": False})
        self._resume = message.get("resume_token", self._resume)
        missing = [kept for kept in self._kept if kept.seq >= message.get("next_seq", 0)]
        self.acked += len(self._kept) - len(missing)
        if self._patient:
            self._outgoing.extendleft(reversed(missing))
        self._kept.clear()

    def _ack(self, message: dict[str, Any]) -> None:
        self._pacing.ack(message, _now())
        self.dropped_there = message.get("dropped") or self.dropped_there
        while self._kept and self._kept[0].seq <= message["seq"]:
            self._kept.popleft()
            self.acked += 1

    async def _ask(self) -> Rest:
        """Whether the stream is still there."""
        stream_id = self._target.stream_id or ""
        try:
            async with httpx2.AsyncClient(timeout=5.0, headers=self._target.headers) as http:
                answer = await http.get(self._target.url(f"/stream/{quote(stream_id, safe='')}"))
        except httpx2.RequestError:
            return Rest(None)
        found = _json(answer)
        return Rest(answer.status_code, str(found.get("code", "")), str(found.get("reason", "")))

    async def send(self, image: bytes, captured_at: datetime) -> bool:
        """Publish one JPEG. A patient client waits until it may; another one drops the picture.

        Whether it went out; never, once the stream is over.
        """
        self._outgoing.append(_Picture(image, captured_at))
        if not await self._drain():
            return False
        self.sent += 1
        return True

    async def flush(self, timeout: float = 5.0) -> None:
        """Wait until everything sent was acknowledged, sending again what was lost."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.over is None and (self._kept or self._outgoing):
                    await self._drain()
                    await self._next_word()

    async def _drain(self) -> bool:
        """Send what is outgoing, the oldest first: a loss may have put earlier pictures before the newest."""
        while self._outgoing and self.over is None:
            answer = self._pacing.offer(_now())
            if isinstance(answer, int) and self._socket is not None:
                picture = self._outgoing.popleft()
                picture.seq = answer
                self._kept.append(picture)
                with suppress(ConnectionClosed):  # the next hello says whether it arrived
                    await self._socket.send(pack_frame(picture.image, answer, picture.captured_at))
            elif self._patient:
                await self._next_word(self._pacing.interval if answer == "pace" else 0.5)
            else:
                self._outgoing.clear()
                self.dropped[str(answer)] += 1
                return False
        return self.over is None

    async def _next_word(self, timeout: float = 0.5) -> None:
        """Until the server says something or `timeout` seconds went by."""
        self._word.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._word.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
