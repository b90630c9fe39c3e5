"""A publisher: sends pictures in time or not at all.

Latest wins: nothing is queued here. One picture at most is on its way into the line; while it is, or while the gateway
has given no credit, the next one is dropped and counted, or waits for its turn if whoever sends it would rather wait.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from math import inf
from types import TracebackType
from typing import Any, Literal

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from framegate_client import pacing
from framegate_client.answers import Stream
from framegate_client.connection import Connection, OpenStream, log
from framegate_client.errors import ImageTooLarge
from framegate_client.messages import Ack, ErrorMessage, Hello, Message, SlowDown
from framegate_client.pictures import Captured, Image, Picture, jpeg_of
from framegate_client.protocol import SUBPROTOCOL, hello, micros_of, pack_frame, subscribe
from framegate_client.reconnect import ended
from framegate_client.transport import Transport

Refusal = pacing.Refusal | Literal["backlog"]
Source = Iterable[Image | Picture] | AsyncIterable[Image | Picture]

_OVER: Any = object()  # what a source that has ended gives
FLUSH_S = 5.0  # how long leaving waits for the last pictures to be acknowledged


class AsyncPublisher(Connection):
    """Pictures of one stream. Coming back after a loss it resumes its place, and numbers from the gateway's next."""

    protocols = (SUBPROTOCOL,)

    def __init__(
        self,
        transport: Transport,
        stream: Stream | None,
        *,
        open_stream: OpenStream | None = None,
        resume: str | None = None,
        outage_s: float = inf,
    ) -> None:
        super().__init__(transport, stream, open_stream=open_stream, outage_s=outage_s)
        self.sent = 0  # pictures, over all sockets
        self.dropped: Counter[str] = Counter()  # here, by reason; "lost": sent, but the line broke before it arrived
        self.errors: Counter[str] = Counter()  # the gateway's error messages, by code
        self.last_ack: Ack | None = None
        self.resume_token = resume
        self._pacer = pacing.Pacer()
        self._outgoing: bytes | None = None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits a moment until the last pictures have arrived. Raises what ended the connection, unless `send` did."""
        try:
            if kind is None:
                await self.flush()
        finally:
            await self.close()
        if kind is None and not self._told:
            self._check()

    @property
    def refusal(self) -> Refusal | None:
        """Why a picture sent now would be dropped, or None. Look here before spending time on making one."""
        refusal = self._pacer.refusal(_now())
        return "backlog" if refusal is None and self._outgoing is not None else refusal

    @property
    def ready(self) -> bool:
        return self.refusal is None

    async def send(
        self,
        image: Image,
        *,
        captured_at: Captured = "now",
        meta: Mapping[str, Any] | None = None,
        wait: bool = False,
    ) -> int | None:
        """Send one picture now, or drop it; with `wait`, when its turn comes.

        Its number, which is the `seq` of its results; None if it was dropped. Raises `SessionEnded` or what else ended
        the connection, `BadImage`, and `ImageTooLarge` for more bytes than the gateway takes.
        """
        self._alive()
        captured_at = datetime.now(UTC) if captured_at == "now" else captured_at
        if not wait and self._drops():
            return None
        jpeg = jpeg_of(image) if isinstance(image, bytes) else await asyncio.to_thread(jpeg_of, image)
        if wait:
            await self._turn()
        elif self._drops():
            return None
        return self._put(jpeg, captured_at, meta)

    async def run(self, source: Source, *, live: bool | None = None) -> int:
        """Send all a source gives, to its end; how many went.

        From a live one (a camera) the newest is sent and the rest dropped; from any other each waits for its turn.
        None: what the source says itself (`source.live`), else not live. A plain iterable is read in a thread.
        """
        live = bool(getattr(source, "live", False)) if live is None else live
        before = self.sent
        async with aclosing(_pulled(source)) as pictures:
            async for item in pictures:
                await self.run_one(item, live=live)
        await self.flush()
        return self.sent - before

    async def run_one(self, item: Image | Picture, *, live: bool) -> int | None:
        """One of the pictures that `run` sends. A camera's single picture that is too large does not end all."""
        picture = item if isinstance(item, Picture) else Picture(item)
        try:
            return await self.send(picture.image, captured_at=picture.captured_at, meta=picture.meta, wait=not live)
        except ImageTooLarge as error:
            if not live:
                raise
            if not self.dropped["size"]:
                log.warning("stream %s: %s", self._name, error)
            self.dropped["size"] += 1
            return None

    async def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Wait until the gateway has acknowledged all that was sent; whether it has."""
        return await self._until(lambda: self.state == "ended" or self._is_through(), timeout_s) and self._is_through()

    def _is_through(self) -> bool:
        return self.state == "open" and self._outgoing is None and self._pacer.on_the_way == 0

    # --- one picture -------------------------------------------------------------------------------------------------

    def _alive(self) -> None:
        self._check()
        if self.state == "ended":
            raise ended(self.reason or "ended")

    def _drops(self) -> bool:
        self._alive()
        if (refusal := self.refusal) is None:
            return False
        self.dropped[refusal] += 1
        return True

    async def _turn(self) -> None:
        """Until a picture may go."""
        while not self.ready:
            self._alive()
            # Slowed down, it waits for the clock; else for the gateway, or for the line.
            wait = inf if self.refusal == "backlog" else self._pacer.opens_at(_now()) - _now()
            change = self._change
            with suppress(TimeoutError):
                async with asyncio.timeout(None if wait == inf else wait):
                    await change.wait()
        self._alive()

    def _put(self, jpeg: bytes, captured_at: datetime | None, meta: Mapping[str, Any] | None) -> int:
        captured_us = None if captured_at is None else micros_of(captured_at)
        message = pack_frame(jpeg, self._pacer.next_seq, captured_us, meta)
        most = self.hello.limits.max_message_bytes if self.hello else None
        if most is not None and len(message) > most:
            detail = f"a picture of {len(message)} bytes with its header cannot be sent: the gateway takes {most}"
            raise ImageTooLarge(detail, code="image_too_large")
        self._outgoing = message
        self.sent += 1
        seq = self._pacer.take(_now())
        self._ring()
        return seq

    # --- the line ----------------------------------------------------------------------------------------------------

    async def _opened(self) -> None:
        await self._say(hello(acks=True, resume=self.resume_token))
        await self._say(subscribe(topics=[]))  # results are for viewers

    async def _beside(self, socket: ClientConnection) -> None:
        """Writes pictures, one at a time: the next one is taken when the kernel has the last."""
        with suppress(ConnectionClosed):
            while True:
                await self._until(lambda: self._outgoing is not None)
                await socket.send(self._outgoing or b"")
                self._outgoing = None
                self._ring()

    def _received(self, message: Message) -> None:
        match message:
            case Hello():
                self.resume_token = message.resume_token or self.resume_token
                if lost := self._pacer.hello(message):
                    self.dropped["lost"] += lost
            case Ack():
                self.last_ack = message
                self._pacer.ack(message, _now())
            case SlowDown():
                self._pacer.slow_down(message)
            case ErrorMessage():
                self.errors[message.code] += 1

    def _lost(self) -> None:
        self._outgoing = None  # counted as sent; the next hello says whether it arrived
        self._pacer.disconnect()


async def _pulled(source: Source) -> AsyncGenerator[Image | Picture, None]:
    """What a source gives, asked for one at a time; a blocking one in one thread of its own, which it may need."""
    if isinstance(source, AsyncIterable):
        async for item in source:
            yield item
        return
    loop = asyncio.get_running_loop()
    owner = ThreadPoolExecutor(1, thread_name_prefix="framegate source")
    items: Any = None
    try:
        items = await loop.run_in_executor(owner, iter, source)
        while (item := await loop.run_in_executor(owner, lambda: next(items, _OVER))) is not _OVER:
            yield item
    finally:
        if (close := getattr(items, "close", None)) is not None:
            owner.submit(close)
        owner.shutdown(wait=False)


def _now() -> float:
    return asyncio.get_running_loop().time()
