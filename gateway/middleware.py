"""Plain ASGI around everything: a request id and one log line per request, and the headers every answer carries.

Plain, because wrapping a stream in a response object would buffer it. WebSockets and endless bodies pass untouched.
"""

from __future__ import annotations

import logging
import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.engine.refusals import Seldom
from gateway.web import address_of, request_id

log = logging.getLogger("gateway.access")

PATH_SHOWN = 200  # characters of a path in the log
DATA = ("application/json", "application/problem+json", "image/", "text/event-stream", "text/plain")
NO_DOCUMENT = "default-src 'none'; frame-ancestors 'none'; sandbox"


class RequestLog:
    """Gives each request an id, in its answer and its log line. Queries are never logged: they may hold secrets.

    Refusals of one status are logged once in `repeat_s` for each client.
    """

    def __init__(self, app: ASGIApp, *, repeat_s: float) -> None:
        self._app = app
        self._seldom = Seldom(repeat_s, clock=time.monotonic)

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
                _secure(headers)
                if status < 400:
                    _settle(scope)
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            self._log(scope, status, (time.perf_counter() - started) * 1e3, number)

    def _log(self, scope: Scope, status: int, took_ms: float, number: str) -> None:
        level, held = logging.DEBUG, 0
        if status >= 400 or status == 0:
            suppressed = self._seldom.suppressed(str(status), address_of(scope))
            if suppressed is None:
                return
            level, held = logging.INFO, suppressed
        if log.isEnabledFor(level):
            path = shown(scope["path"])
            more = f", {held} more like it" if held else ""
            log.log(level, "%s %s: %d in %.1f ms, request %s%s", scope["method"], path, status, took_ms, number, more)


def shown(path: str) -> str:
    """A path as a log may hold it: short, and no character that a terminal or a reader of lines would obey."""
    return ascii(path[:PATH_SHOWN])[1:-1]


def _secure(headers: MutableHeaders) -> None:
    """What keeps a browser from taking data for a page, and from telling others where it has been."""
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "no-referrer")
    if headers.get("content-type", "").startswith(DATA):
        headers.setdefault("Content-Security-Policy", NO_DOCUMENT)


def _settle(scope: Scope) -> None:
    """Its connection is one that was answered: it no longer counts among those that never asked anything."""
    visit = scope.get("extensions", {}).get("framegate.visit", {}).get("visit")
    if visit is not None:
        visit.settle()
