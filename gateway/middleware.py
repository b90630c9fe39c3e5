"""Plain ASGI around everything: a request id and one log line per request, and the headers every answer carries.

Plain, because wrapping a stream in a response object would buffer it. WebSockets and endless bodies pass untouched.
"""

from __future__ import annotations

import logging
import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.web import request_id

log = logging.getLogger("gateway.access")


class RequestLog:
    """Gives each request an id, in its answer and its log line. Queries are never logged: they may hold secrets."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        number = request_id(scope)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = number
                headers.setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            took = (time.perf_counter() - started) * 1e3
            level = logging.DEBUG if status < 400 else logging.INFO
            log.log(level, "%s %s: %d in %.1f ms, request %s", scope["method"], scope["path"], status, took, number)
