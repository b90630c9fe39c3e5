"""Bodies of requests: counted before anything parses them, and refused as soon as they are too large.

A picture's route counts for itself, with the limit of a message; a stream of pictures has no end. All others have the
small limit, and JSON is looked at before FastAPI sees it, which would take NaN, a name twice and any depth.
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import strictjson
from gateway.errors import BadMessage, BodyTooLarge, GatewayError
from gateway.limits import Limits
from gateway.web import path_below_root, problem_of

_ENDLESS = re.compile(r"/stream/[^/]+/frames")
_PICTURE = re.compile(r"/stream/[^/]+/frame")


class Bodies:
    """The middleware."""

    def __init__(self, app: ASGIApp, *, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (most := self._most(scope)) is None:
            await self._app(scope, receive, send)
            return
        body = Body(receive, send, most)
        try:
            headers = Headers(scope=scope)
            body.announced(headers.get("content-length"))
            if most == self._limits.max_body_bytes and _is_json(headers.get("content-type", "")):
                check_json(await body.whole(), self._limits.max_json_depth)
        except GatewayError as error:
            await problem_of(scope, error)(scope, receive, send)
            return
        await self._app(scope, body.receive, body.send)
        if body.error is not None and not body.answered:
            await problem_of(scope, body.error)(scope, receive, send)

    def _most(self, scope: Scope) -> int | None:
        path = path_below_root(scope)
        if _ENDLESS.fullmatch(path):
            return None
        return self._limits.max_message_bytes if _PICTURE.fullmatch(path) else self._limits.max_body_bytes


class Body:
    """One body on its way to the application. Once it is too large, the application's own answer does not count."""

    def __init__(self, receive: Receive, send: Send, most: int) -> None:
        self.error: BodyTooLarge | None = None
        self.answered = False
        self._receive = receive
        self._send = send
        self._most = most
        self._size = 0
        self._kept: Message | None = None

    def announced(self, length: str | None) -> None:
        """Raises `BodyTooLarge` for a Content-Length beyond the limit."""
        if length is not None and length.isdecimal() and int(length) > self._most:
            raise self._too_large()

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"the body is larger than the limit of {self._most} bytes")

    async def whole(self) -> bytes:
        """All of it, which the application gets afterwards. Raises `BodyTooLarge` or `BadMessage`."""
        parts: list[bytes] = []
        while True:
            message = await self.receive()
            if self.error is not None:
                raise self.error
            if message["type"] != "http.request":
                raise BadMessage("the client went away before its body was complete", code="body_cut")
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                break
        body = b"".join(parts)
        self._kept = {"type": "http.request", "body": body, "more_body": False}
        return body

    async def receive(self) -> Message:
        if self._kept is not None:
            message, self._kept = self._kept, None
            return message
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > self._most and self.error is None:
            self.error = self._too_large()
        return {"type": "http.disconnect"} if self.error is not None and not self.answered else message

    async def send(self, message: Message) -> None:
        if self.error is None or self.answered:
            self.answered = True
            await self._send(message)


def check_json(body: bytes, deepest: int) -> None:
    """Refuse what is no JSON (RFC 8259), or not for every reader the same. Raises `BadMessage`."""
    if not body:
        return
    try:
        strictjson.parse(body.decode(), depth=deepest)
    except ValueError as error:
        raise BadMessage(f"not JSON: {error}", code="bad_json") from None


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")
