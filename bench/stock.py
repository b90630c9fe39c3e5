"""The stock server: the same frameworks as people use them after the first page of the manual, with every default.

uvicorn and Starlette; a socket that reads messages and forgets them, a body parsed as JSON, a form with files, and a
picture that is decoded. `python -m bench.stock` says its address and serves until it is terminated.
"""

from __future__ import annotations

import cv2
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket


async def _socket(socket: WebSocket) -> None:
    await socket.accept()
    while (await socket.receive())["type"] == "websocket.receive":
        pass


async def _json(request: Request) -> Response:
    try:
        document = await request.json()
    except ValueError:
        return JSONResponse({"detail": "no JSON"}, 400)
    return JSONResponse({"type": type(document).__name__})


async def _upload(request: Request) -> Response:
    async with request.form() as form:
        return JSONResponse({"parts": len(form)})


async def _picture(request: Request) -> Response:
    picture = await run_in_threadpool(_decoded, await request.body())
    return JSONResponse({"read": picture})


def _decoded(data: bytes) -> bool:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None
    except cv2.error:
        return False


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


app = Starlette(
    routes=[
        WebSocketRoute("/ws", _socket),
        Route("/json", _json, methods=["POST"]),
        Route("/upload", _upload, methods=["POST"]),
        Route("/picture", _picture, methods=["POST"]),
        Route("/health", _health),
    ]
)

if __name__ == "__main__":
    uvicorn.run(app, port=0)
