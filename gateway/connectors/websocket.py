"""The stream socket: `WS /ws/stream/{id}`, one socket for publishers and viewers.

Two tasks per connection. The reader awaits the transport and nothing else, so a peer's messages never queue up behind
slow work; the writer is the only one that sends. What the messages mean is `gateway.protocol`'s business.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from datetime import datetime
from urllib.parse import parse_qs

import pybase64
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from gateway.engine.mailbox import Closed, Mailbox
from gateway.engine.picture import Picture
from gateway.engine.session import Session
from gateway.engine.subscriber import Subscriber
from gateway.errors import GatewayError, SecondPublisher
from gateway.frame import iso
from gateway.protocol import (
    SUBPROTOCOL,
    AckIn,
    ClientEvent,
    FrameIn,
    HelloIn,
    PingIn,
    RelayIn,
    StreamProtocol,
    SubscribeIn,
    error_message,
    message,
    pack_frame,
    parse_pictures,
)
from gateway.version import __version__
from gateway.web import check_origin, hub_of, refuse_upgrade

log = logging.getLogger(__name__)


class StreamSocket:
    """The ASGI endpoint: a bare one, so that nothing stands between a message and the protocol."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        hub = hub_of(HTTPConnection(scope))
        try:
            check_origin(scope, hub.settings.allowed_origins)
            session = hub.get(scope["path_params"]["stream_id"])
            wish = parse_qs(scope["query_string"].decode("latin-1")).get("frames", ["none"])[-1]
            client = StreamClient(scope, receive, send, session, clock=hub.clock)
            client.join(SubscribeIn(parse_pictures(wish)))
        except GatewayError as error:
            await refuse_upgrade(scope, send, error)
            return
        try:
            await client.run()
        finally:
            client.leave()


class StreamClient:
    """One connection: a subscriber of its session, and its publisher once it sends a frame."""

    listens = True

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, session: Session, *, clock: Callable[[], float]
    ) -> None:
        self.token = secrets.token_urlsafe(16)
        self._receive = receive
        self._send = send
        self._session = session
        self._clock = clock
        self._protocol = StreamProtocol(negotiated=SUBPROTOCOL in scope.get("subprotocols", []))
        self._subscriber = Subscriber(
            messages=session.settings.stream.viewer_messages,
            reset=scope.get("extensions", {}).get("framegate.reset", {}).get("reset"),
        )
        self._resume: str | None = None
        self._connected = True
        self._foreign: Mailbox[FrameIn] = Mailbox(1)  # PNG and WebP, on their way to the picture worker
        self._slowed_at = float("-inf")

    # --- coming and going --------------------------------------------------------------------------------------------

    def join(self, wish: SubscribeIn) -> None:
        """Become a subscriber. Raises `AtCapacity`."""
        self._session.audience.subscribe(self._subscriber)
        self._subscribe(wish)
        self._session.lease.join()
        self._session.changed.set()

    def leave(self) -> None:
        session = self._session
        self._subscriber.reset = None
        session.resign(self)
        session.audience.leave(self._subscriber)
        session.lease.leave(self._clock())
        session.changed.set()

    def displaced(self) -> None:
        """Somebody else publishes now."""
        self._subscriber.close(SecondPublisher.close_code, "another publisher took over")

    async def run(self) -> None:
        """Serve the connection until either side ends it."""
        await self._send(
            {"type": "websocket.accept", "subprotocol": SUBPROTOCOL if self._protocol.negotiated else None}
        )
        self._subscriber.put_message(self._hello())
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(self._read())
            transcoder = tasks.create_task(self._transcode())
            # A task of its own: resumed for every message, it must not climb through all layers of the application.
            await tasks.create_task(self._write())
            reader.cancel()
            transcoder.cancel()

    def _hello(self) -> str:
        limits = self._session.settings.limits
        return message(
            "hello",
            protocol=SUBPROTOCOL,
            version=__version__,
            stream_id=self._session.id,
            limits={
                "max_message_bytes": limits.max_message_bytes,
                "max_pixels": limits.max_pixels,
                "max_fps": self._session.max_fps,
                "credits": self._session.settings.stream.credits,
            },
            next_seq=self._session.next_seq,
            resume_token=self.token,
            analyzers=[stage.describe() for stage in self._session.stages],
        )

    # --- in ----------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            received = await self._receive()
            if received["type"] == "websocket.disconnect":
                self._connected = False
                self._subscriber.close()
                return
            text = received.get("text")
            try:
                self._take(self._protocol.receive(received["bytes"] if text is None else text))
            except SecondPublisher as error:
                self._refuse(error)
                return
            except GatewayError as error:
                if self._protocol.fault(error, self._clock()):
                    self._refuse(error)
                    return
                self._subscriber.put_message(error_message(error))

    def _refuse(self, error: GatewayError) -> None:
        log.info("stream %s: closed a socket: %s", self._session.id, error.code)
        self._subscriber.close(error.close_code, error.code, last_words=error_message(error))

    def _take(self, event: ClientEvent) -> None:
        match event:
            case FrameIn():
                self._session.claim(self, resume=self._resume)
                if event.kind == "jpeg":
                    self._publish(event.image, event.seq, event.captured_at)
                else:
                    if self._foreign.put(event) is not None:
                        self._session.ingest_dropped["replaced"] += 1
            case SubscribeIn():
                self._subscribe(event)
                self._subscriber.put_message(message("subscribed", frames=event.pictures, topics=list(event.topics)))
            case RelayIn():
                self._session.relay(event.data, self._subscriber)
            case HelloIn():
                self._resume = event.resume
            case PingIn():
                self._subscriber.put_message(message("pong"))
            case AckIn():
                pass  # the protocol has noted that this publisher acknowledges

    def _publish(self, image: bytes, seq: int | None, captured_at: datetime | None) -> None:
        frame = self._session.put(image, seq=seq, captured_at=captured_at)
        self._protocol.image_accepted()
        if frame is None:
            self._slow_down()
        if self._protocol.wants_acks:
            acked = self._session.next_seq - 1 if seq is None else seq
            credits = self._session.settings.stream.credits
            self._subscriber.put_ack(message("ack", seq=acked, credits=credits, dropped=self._session.lost))

    def _slow_down(self) -> None:
        """Say once a second what the stream takes."""
        now = self._clock()
        if now - self._slowed_at >= 1.0:
            self._slowed_at = now
            self._subscriber.put_message(message("slow_down", fps=self._session.max_fps))

    async def _transcode(self) -> None:
        while True:
            event = await self._foreign.get()
            try:
                self._publish(await self._session.transcode(event.image), event.seq, event.captured_at)
            except GatewayError as error:
                if self._protocol.fault(error, self._clock()):
                    self._refuse(error)
                    return
                self._subscriber.put_message(error_message(error))

    def _subscribe(self, wish: SubscribeIn) -> None:
        self._subscriber.topics = frozenset(wish.topics)
        self._subscriber.pictures = wish.pictures
        if wish.pictures == "none":
            self._session.audience.unwatch(self._subscriber)
        else:
            self._session.watch(self._subscriber)

    # --- out ---------------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        subscriber = self._subscriber
        try:
            while self._connected:
                try:
                    item = await subscriber.next()
                except Closed:
                    break
                subscriber.sending_since = self._clock()
                await self._send(self._wrapped(item))
                subscriber.sending_since = None
            if self._connected:
                code, reason = subscriber.farewell or (1000, "")
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except OSError:  # the peer has gone; the reader hears of it too
            self._connected = False

    def _wrapped(self, item: str | Picture) -> dict[str, object]:
        if isinstance(item, str):
            return {"type": "websocket.send", "text": item}
        if self._subscriber.pictures == "base64":
            return {"type": "websocket.send", "text": item.once("base64", _as_base64)}
        return {"type": "websocket.send", "bytes": item.once("binary", _as_binary)}


def _as_binary(picture: Picture) -> bytes:
    return pack_frame(picture.jpeg, picture.frame.seq, picture.frame.captured_at)


def _as_base64(picture: Picture) -> str:
    image = "data:image/jpeg;base64," + pybase64.b64encode(picture.jpeg).decode("ascii")
    return message("frame", seq=picture.frame.seq, captured_at=iso(picture.frame.captured_at), image=image)
