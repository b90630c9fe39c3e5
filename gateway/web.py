"""What all HTTP and WebSocket edges share: the hub of an application, and how an error is answered.

Errors are problem documents (RFC 9457). A WebSocket that cannot be served is refused with the same document before the
upgrade, through the ASGI extension `websocket.http.response`.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.credentials import NOBODY, Caller, Credentials
from gateway.engine.hub import Hub
from gateway.errors import ForeignOrigin, GatewayError, NoCredential, SessionEnded

PROBLEM = "application/problem+json"
PLAIN = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*$"  # no controls, and nothing that turns text around

_TITLES = {
    400: "Bad request",
    401: "Credential needed",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    409: "Conflict",
    412: "Precondition failed",
    413: "Too large",
    408: "Too slow",
    415: "Unsupported media type",
    416: "Range not satisfiable",
    421: "Misdirected request",
    422: "Cannot be processed",
    429: "Too many requests",
    431: "Header too large",
    500: "Internal error",
    503: "Not now",
}


def hub_of(connection: HTTPConnection) -> Hub:
    """The hub of the application that serves this request."""
    hub: Hub = connection.app.state.hub
    return hub


def credentials_of(connection: HTTPConnection) -> Credentials:
    """The credentials of the application that serves this request."""
    credentials: Credentials = connection.app.state.credentials
    return credentials


def caller_of(scope: Scope) -> Caller:
    """Who asks, as the access check found out."""
    caller: Caller = scope.get("state", {}).get("caller", NOBODY)
    return caller


def address_of(scope: Scope) -> str:
    """The address of whoever asks; empty if there is none."""
    return str((scope.get("client") or ("",))[0])


def path_below_root(scope: Scope) -> str:
    """The path as our routes have it: without the base path."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(root + "/") else path


def request_id(scope: Scope) -> str:
    """The request's id, as in its log lines and its `X-Request-Id`."""
    state: dict[str, Any] = scope.setdefault("state", {})
    return str(state.setdefault("request_id", secrets.token_hex(8)))


def problem(
    scope: Scope, status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    """A problem document. It names the request itself: refused upgrades and our own bugs pass no middleware."""
    body = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id(scope),
        **more,
    }
    return Response(json.dumps(body), status, {**(headers or {}), "X-Request-Id": request_id(scope)}, PROBLEM)


def problem_of(scope: Scope, error: GatewayError) -> Response:
    """The problem document of one of our errors, with Retry-After where it has one."""
    headers = {"Retry-After": str(max(1, round(error.retry_after_s)))} if error.retry_after_s else {}
    if isinstance(error, NoCredential):
        headers["WWW-Authenticate"] = error.challenge
    more = {"reason": error.reason} if isinstance(error, SessionEnded) else {}
    return problem(scope, error.status, error.code, error.detail, headers=headers, **more)


LOCAL_ORIGIN = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")


def check_origin(scope: Scope, allowed: Collection[str]) -> None:
    """Refuse a browser's socket that a foreign page opened: CORS does not apply to sockets. Raises `ForeignOrigin`."""
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if origin is None or origin in allowed or LOCAL_ORIGIN.fullmatch(origin):
        return
    if origin.partition("://")[2] != headers.get("host"):
        raise ForeignOrigin(f"pages of {origin[:100]} may not use this gateway")


async def refuse(scope: Scope, receive: Receive, send: Send, error: GatewayError) -> None:
    """Answer a request, or a WebSocket's handshake of which nothing was received yet."""
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        await refuse_upgrade(scope, send, error)
    else:
        await problem_of(scope, error)(scope, receive, send)


async def refuse_upgrade(scope: Scope, send: Send, error: GatewayError) -> None:
    """Answer a WebSocket handshake with a real HTTP status; where the server cannot, close it."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": error.close_code, "reason": error.code})
        return
    answer = problem_of(scope, error)
    await send({"type": "websocket.http.response.start", "status": answer.status_code, "headers": answer.raw_headers})
    await send({"type": "websocket.http.response.body", "body": answer.body})
