"""The bare servers: the best plain code for one job each, on the same uvicorn with the same limits as the gateway.

`python -m bench.bare ingest|fanout|relay` says its address and serves until it is terminated.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Callable

import pybase64
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send


class Ingest:
    """Takes pictures as data URLs or binary from any number of sockets, decodes base64, counts and forgets."""

    def __init__(self) -> None:
        self._frames = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _answer(send, {"frames": self._frames})
            return
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            if text := message.get("text"):
                pybase64.b64decode(text[text.index(",") + 1 :], validate=True)
            self._frames += 1


class FanOut:
    """MJPEG of what one socket publishes: a part is joined once a picture, and one future wakes all viewers."""

    def __init__(self) -> None:
        self._part = b""
        self._news: asyncio.Future[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._news is None:
            self._news = asyncio.get_running_loop().create_future()
        await (self._show if scope["type"] == "http" else self._publish)(receive, send)

    async def _publish(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            jpeg = message["bytes"]
            head = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
            self._part = b"".join((head, jpeg, b"\r\n--frame\r\n"))
            news, self._news = self._news, asyncio.get_running_loop().create_future()
            if news is not None:
                news.set_result(None)

    async def _show(self, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"multipart/x-mixed-replace; boundary=frame"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"--frame\r\n", "more_body": True})
        gone = asyncio.create_task(_disconnected(receive))
        while not gone.done():
            news = self._news
            if part := self._part:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            if news is not None:
                await news


class Relay:
    """Every message of a socket goes to all others, as it is."""

    def __init__(self) -> None:
        self._sends: set[Send] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        self._sends.add(send)
        try:
            while (message := await receive())["type"] == "websocket.receive":
                for other in self._sends - {send}:
                    await other({"type": "websocket.send", "bytes": message["bytes"]})
        finally:
            self._sends.remove(send)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(send: Send, body: object) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


def main() -> None:
    apps: dict[str, Callable[[], ASGIApp]] = {"ingest": Ingest, "fanout": FanOut, "relay": Relay}
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(
        apps[sys.argv[1]](),
        ws="websockets-sansio",
        ws_max_size=2 * 2**20,
        ws_per_message_deflate=False,
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
