"""An endless HTTP body that follows one subscriber: what MJPEG and server-sent events have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.engine.mailbox import Closed
from gateway.engine.picture import Picture
from gateway.engine.subscriber import Subscriber


class SubscriberBody(Response):
    """Sends `opening`, then each of the subscriber's items as `wrap` has it, until the client or the subscriber ends.

    `wrap` returns no bytes for what this client does not get; `gap` (s) is the least time between two parts.
    """

    def __init__(
        self,
        subscriber: Subscriber,
        wrap: Callable[[str | Picture], bytes],
        *,
        opening: bytes,
        headers: Mapping[str, str],
        clock: Callable[[], float],
        on_end: Callable[[], None],
        gap: float = 0.0,
    ) -> None:
        self.status_code = 200
        self.background: BackgroundTask | None = None
        self._subscriber = subscriber
        self._wrap = wrap
        self._opening = opening
        self._clock = clock
        self._on_end = on_end
        self._gap = gap
        self.init_headers(headers)  # without a `body`, or it would add Content-Length: 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        extensions = scope.get("extensions", {})
        self._subscriber.peer = extensions.get("framegate.peer", {}).get("peer")
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(self._watch(receive))
                # In a task of its own: resumed for every part, it must not climb through all layers of the application.
                pour = self._pour(extensions.get("framegate.send", {}).get("send", send))
                await tasks.create_task(pour)
                watch.cancel()
        finally:
            self._subscriber.peer = None  # the connection may go on to serve other requests
            self._on_end()

    async def _pour(self, send: Send) -> None:
        subscriber, clock = self._subscriber, self._clock
        try:
            await send({"type": "http.response.body", "body": self._opening, "more_body": True})
            subscriber.shown_at = clock()
            while True:
                part = self._wrap(await subscriber.next())
                if part:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                    subscriber.shown_at = clock()
                    if self._gap:
                        await self._pause()
        except Closed:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:  # the client has gone
            return

    async def _pause(self) -> None:
        """Keep to the client's own pace, but notice at once that it is over."""
        self._subscriber.resting = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._gap):
                await self._subscriber.over.wait()
        self._subscriber.resting = False

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._subscriber.close()
