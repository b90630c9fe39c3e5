"""A gateway that says exactly what a test wants: the page's files, the stream list, and one script per stream id.

The real gateway cannot be told to be late, to fail or to send hostile labels at the moment a test needs it.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.api.pages import CSP

ROOT = Path(__file__).parents[2]

Script = Callable[[WebSocket], Awaitable[None]]

HELLO: dict[str, Any] = {
    "type": "hello",
    "protocol": "framegate.v1",
    "version": "0.1.0",
    "limits": {"max_fps": 30, "credits": 4},
    "next_seq": 0,
    "resume_token": "t",
    "analyzers": [],
}


class ScriptedGateway:
    """Streams by id, each with what its socket does; `ended` holds the reasons of those that are over."""

    def __init__(self, **scripts: Script) -> None:
        self.scripts = scripts
        self.ended: dict[str, str] = {}
        self.heard: list[dict[str, Any]] = []
        self.requests: list[Response] = []  # the next answers to `POST /stream/request`; then the first stream
        self.sockets = 0

    def app(self) -> Starlette:
        routes = [
            Route("/viewer", self._page),
            Route("/publish", self._publish),
            Route("/stream", self._list),
            Route("/stream/request", self._request, methods=["POST"]),
            Route("/stream/{id}", self._status),
            WebSocketRoute("/ws/stream/{id}", self._socket),
            Mount("/viewer", StaticFiles(directory=ROOT / "static" / "viewer")),
            Mount("/publish", StaticFiles(directory=ROOT / "static" / "publish")),
            Mount("/client", StaticFiles(directory=ROOT / "clients" / "js" / "src")),
        ]
        return Starlette(routes=[*routes, Mount("/prefix", routes=list(routes))])

    async def _page(self, request: Request) -> Response:
        return FileResponse(ROOT / "static/viewer/index.html", headers={"Content-Security-Policy": CSP})

    async def _publish(self, request: Request) -> Response:
        return FileResponse(ROOT / "static/publish/index.html", headers={"Content-Security-Policy": CSP})

    async def _request(self, request: Request) -> Response:
        if self.requests:
            return self.requests.pop(0)
        name = next(iter(self.scripts))
        return JSONResponse(
            {"stream_id": name, "websocket_url": f"/ws/stream/{name}", "viewer_url": f"/viewer?stream_id={name}"}
        )

    async def _list(self, request: Request) -> Response:
        live = [{"stream_id": name, "name": "", "state": "live"} for name in self.scripts if name not in self.ended]
        return JSONResponse({"items": live, "next": None})

    async def _status(self, request: Request) -> Response:
        name = request.path_params["id"]
        if reason := self.ended.get(name):
            return JSONResponse({"status": 404, "code": "session_ended", "reason": reason}, 404)
        if name not in self.scripts:
            return JSONResponse({"status": 404, "code": "not_found"}, 404)
        return JSONResponse({"stream_id": name, "state": "live"})

    async def _socket(self, socket: WebSocket) -> None:
        name = socket.path_params["id"]
        if name not in self.scripts or name in self.ended:
            await socket.send_denial_response(Response(status_code=404))
            return
        self.sockets += 1
        await socket.accept(next(iter(socket.scope["subprotocols"]), None))  # a publisher's browser insists on it
        await socket.send_json(HELLO)
        listening = asyncio.create_task(self._listen(socket))
        try:
            await self.scripts[name](socket)
        except (WebSocketDisconnect, RuntimeError):  # the page has gone in the middle of it
            pass
        finally:
            listening.cancel()
            await asyncio.wait([listening])

    async def _listen(self, socket: WebSocket) -> None:
        while (received := await socket.receive())["type"] == "websocket.receive":
            if received.get("text") is None:
                continue  # a picture
            message = json.loads(received["text"])
            self.heard.append(message)
            if message["type"] == "ping":
                await socket.send_json({"type": "pong"})


@contextmanager
def serving(gateway: ScriptedGateway) -> Iterator[str]:
    """Its address while it runs."""
    config = uvicorn.Config(gateway.app(), port=0, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    sockets = [config.bind_socket()]
    sockets[0].listen()  # from here on a page may connect, even before the server's thread is under way
    thread = threading.Thread(target=server.run, kwargs={"sockets": sockets}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
