"""The one answer of a connection that came when there was no room any more: how the gateway is, or that it is full."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn._types import ASGI3Application

from gateway.web import problem

OPEN = ("/health", "/api/health", "/ready", "/api/ready")
RETRY_AFTER_S = 5


def last_answer(app: ASGI3Application, code: str) -> ASGI3Application:
    """`app` for who asks after its health, for everybody else 503; the connection ends behind it."""
    whole: ASGIApp = app  # type: ignore[assignment]  # uvicorn's and Starlette's types for the same things

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_end(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        inner = whole if scope["path"].endswith(OPEN) else _full(scope, code)
        await inner(scope, receive, send_and_end)

    return answer  # type: ignore[return-value]


def _full(scope: Scope, code: str) -> ASGIApp:
    return problem(scope, 503, code, "the gateway has no room left", headers={"Retry-After": str(RETRY_AFTER_S)})
