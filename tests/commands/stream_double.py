"""A stream socket on loopback that does what a test tells it: the other end for our client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from gateway.protocol import unpack_frame


class Double:
    """`connections` counts sockets, `frames` are the (seq, JPEG) that arrived, `said` the JSON messages."""

    def __init__(self, play: Callable[[Double, ServerConnection], Awaitable[None]], *, status: int = 200) -> None:
        self.play, self.status = play, status
        self.connections = 0
        self.frames: list[tuple[int, bytes]] = []
        self.said: list[dict[str, Any]] = []
        self.answer: dict[str, Any] = {}
        self.url = ""

    async def hello(self, socket: ServerConnection, *, next_seq: int = 0, credits: int = 2, fps: float = 1000) -> None:
        limits = {"credits": credits, "max_fps": fps, "max_message_bytes": 10_000}
        await self.tell(socket, "hello", limits=limits, next_seq=next_seq, resume_token=f"r{self.connections}")

    async def take(self, socket: ServerConnection, number: int = 1, *, ack: bool = True) -> None:
        """Receive so many frames."""
        while number:
            message = await socket.recv()
            if isinstance(message, str):
                self.said.append(json.loads(message))
                continue
            seq, _, _, jpeg = unpack_frame(message)
            self.frames.append((seq, jpeg))
            number -= 1
            if ack:
                await self.tell(socket, "ack", seq=seq, credits=2, dropped={})

    async def tell(self, socket: ServerConnection, kind: str, **fields: Any) -> None:
        await socket.send(json.dumps({"type": kind, **fields}))

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Plain HTTP: what `GET /stream/{id}` answers."""
        if "Upgrade" in request.headers:
            return None
        body = json.dumps(self.answer).encode()
        headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body))})
        return Response(self.status, HTTPStatus(self.status).phrase, headers, body)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Double]:
        async def handle(socket: ServerConnection) -> None:
            self.connections += 1
            await self.play(self, socket)

        async with serve(handle, "127.0.0.1", 0, process_request=self._request, close_timeout=1) as server:
            self.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
            yield self
