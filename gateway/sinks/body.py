"""An endless HTTP body that follows one subscriber: what MJPEG and server-sent events have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.engine.subscriber import Subscriber


class SubscriberBody(Response):
    """Sends the parts that `parts(subscriber)` yields, until the client goes or the subscriber is closed.

    The subscriber is told when a send begins and ends, so that the session notices a client that takes nothing.
    """

    def __init__(
        self,
        subscriber: Subscriber,
        parts: AsyncIterator[bytes],
        *,
        headers: Mapping[str, str],
        clock: Callable[[], float],
        on_end: Callable[[], None],
    ) -> None:
        self.status_code = 200
        self.background: BackgroundTask | None = None
        self.body = b""
        self._subscriber = subscriber
        self._parts = parts
        self._clock = clock
        self._on_end = on_end
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._subscriber.reset = scope.get("extensions", {}).get("framegate.reset", {}).get("reset")
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(self._watch(receive))
                await self._pour(send)
                watch.cancel()
        finally:
            self._on_end()

    async def _pour(self, send: Send) -> None:
        subscriber, clock = self._subscriber, self._clock
        try:
            async for part in self._parts:
                subscriber.sending_since = clock()
                await send({"type": "http.response.body", "body": part, "more_body": True})
                subscriber.sending_since = None
                subscriber.shown_at = clock()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:  # the client has gone
            return

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._subscriber.close()
