"""The other end of a stream socket as a test wants it: a WebSocket server that says what it is told to say."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Self

from framegate_client import AsyncClient
from framegate_client.messages import Frame
from framegate_client.protocol import unpack_frame
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

STREAM = {"stream_id": "door", "websocket_url": "/ws/stream/door"}
LIVING = {"stream_id": "door", "state": "live"}
LIMITS = {"max_message_bytes": 10_000, "credits": 2, "max_fps": 1000}
PATIENCE_S = 20.0  # two cores, and other tests on them

Refuse = Callable[[Request], tuple[int, dict[str, str], dict[str, Any]] | None]


class Line:
    """One socket of the client's, seen from the other end."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.frames: list[Frame] = []
        self.heard: list[dict[str, Any]] = []
        self._change = asyncio.Event()

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def hello(self, *, next_seq: int = 0, stream_id: str = "door", **more: Any) -> None:
        fields = {"next_seq": next_seq, "stream_id": stream_id, "limits": LIMITS, "resume_token": "first", **more}
        await self.say("hello", **fields)

    async def ack(self, seq: int, credits: int = 2) -> None:
        await self.say("ack", seq=seq, credits=credits, dropped=0)

    async def take(self) -> None:
        try:
            async for data in self.socket:
                if isinstance(data, str):
                    self.heard.append(json.loads(data))
                elif (frame := unpack_frame(data)) is not None:
                    self.frames.append(frame)
                self._change.set()
        except ConnectionClosed:
            pass

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._change.clear()
                await self._change.wait()

    async def pictures(self, count: int) -> list[int]:
        """The numbers of this many pictures, as soon as they are there."""
        await self.until(lambda: len(self.frames) >= count)
        return [frame.seq for frame in self.frames]


class Peer:
    """Listens on a free loopback port. `refuse` may answer a request before it becomes a socket."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.refuse: Refuse = lambda request: None
        self.greets = False  # say hello at once
        self.status: tuple[int, dict[str, Any]] = (200, LIVING)  # of GET /stream/ID
        self.requests: list[Request] = []
        self._tls = tls
        self._lines: asyncio.Queue[Line] = asyncio.Queue()
        self._stack = AsyncExitStack()
        self._server: Server

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            process_request=self._answer,
            subprotocols=[Subprotocol("framegate.v1")],
            select_subprotocol=lambda _, offered: offered[0] if offered else None,
            ssl=self._tls,
            close_timeout=1,
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def client(self, **how: Any) -> AsyncClient:
        """One that comes back at once: the random share of its back-off is 0."""
        client = AsyncClient(how.pop("url", self.url), trust_env=False, **how)
        client._transport.random = lambda: 0.0
        return client

    async def line(self) -> Line:
        """The client's next socket."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._lines.get()

    async def _serve(self, socket: ServerConnection) -> None:
        line = Line(socket)
        self._lines.put_nowait(line)
        if self.greets:
            await line.hello()
        await line.take()

    def _answer(self, _: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        if (refused := self.refuse(request)) is not None:
            status, headers, problem = refused
            return _response(status, problem, headers)
        return None if "Upgrade" in request.headers else _response(*self.status)


async def until(condition: Callable[[], bool]) -> None:
    """Look again and again: what changes is on the client's side, which tells nobody."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def _response(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    data = json.dumps(body).encode()
    head = {"Content-Length": str(len(data)), "Connection": "close", **(headers or {})}
    return Response(status, "", Headers(head), data)
