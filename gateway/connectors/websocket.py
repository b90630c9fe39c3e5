"""The stream socket: `WS /ws/stream/{id}`, one socket for publishers and viewers.

Two tasks per connection. The reader awaits the transport and nothing else, so a peer's messages never queue up behind
slow work; the writer is the only one that sends. What the messages mean is `gateway.protocol`'s business.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from urllib.parse import parse_qs

import pybase64
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from gateway.engine.mailbox import Closed, Mailbox
from gateway.engine.manners import Manners
from gateway.engine.picture import Picture
from gateway.engine.refusals import Refusals
from gateway.engine.session import Session
from gateway.engine.subscriber import Subscriber
from gateway.errors import GatewayError, SecondPublisher, TooFast, WrongScope
from gateway.frame import Frame, iso
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
from gateway.web import address_of, caller_of, check_origin, hub_of, refuse_upgrade

BREATH = 64  # messages that may be read in one go; a single read of the transport can hold thousands


class StreamSocket:
    """The ASGI endpoint: a bare one, so that nothing stands between a message and the protocol."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        hub = hub_of(HTTPConnection(scope))
        try:
            check_origin(scope, hub.settings.allowed_origins)
            session = hub.get(scope["path_params"]["stream_id"])
            wish = parse_qs(scope["query_string"].decode("latin-1")).get("frames", ["none"])[-1]
            client = StreamClient(scope, receive, send, session, clock=hub.clock, refusals=hub.admission.refusals)
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

    asked_for_few = False

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        session: Session,
        *,
        clock: Callable[[], float],
        refusals: Refusals,
    ) -> None:
        self.token = secrets.token_urlsafe(16)
        self._receive = receive
        self._send = send
        self._session = session
        self._clock = clock
        self._refusals = refusals
        self._who = address_of(scope)
        self._protocol = StreamProtocol(negotiated=SUBPROTOCOL in scope.get("subprotocols", []))
        self._manners = Manners(session.settings.limits, clock(), negotiated=self._protocol.negotiated)
        self._alarm: asyncio.TimerHandle | None = None
        self._subscriber = Subscriber(
            messages=session.settings.stream.viewer_messages,
            peer=scope.get("extensions", {}).get("framegate.peer", {}).get("peer"),
        )
        self._subscriber.tokens = frozenset({self.token})
        self._may_publish = caller_of(scope).may("publish", session.id)
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
        if self._alarm is not None:
            self._alarm.cancel()
        self._subscriber.peer = None
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
        self._watch_deadline()
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
        heard = 0
        while True:
            received = await self._receive()
            if received["type"] == "websocket.disconnect":
                self._connected = False
                self._subscriber.close()
                return
            text = received.get("text")
            if not self._hear(received["bytes"] if text is None else text):
                return
            heard += 1
            if heard % BREATH == 0:
                await asyncio.sleep(0)

    def _hear(self, said: str | bytes) -> bool:
        """One message; whether to listen on."""
        now = self._clock()
        try:
            self._manners.admit(said, now, self._session.max_fps)
            event = self._protocol.receive(said)
            self._manners.heed(event, said, now)
            self._take(event)
        except GatewayError as error:
            return self._forgive(error, now)
        return True

    def _forgive(self, error: GatewayError, now: float) -> bool:
        """Answer a mistake, or close the connection for it; whether it goes on."""
        match error:
            case SecondPublisher() | WrongScope():
                forgiven, told = False, True
            case TooFast():
                forgiven, told = not self._manners.floods(error, now), self._manners.may_tell(now)
            case _:
                forgiven, told = self._protocol.fault(error, now) is None, True
        if not forgiven:
            self._refuse(error)
            return False
        self._refusals.note(error.code, self._who, "a message")
        if told:
            self._subscriber.put_message(error_message(error))
        return True

    def _watch_deadline(self) -> None:
        """Look again when the next deadline passes, and close the connection if it was missed."""
        self._alarm, now = None, self._clock()
        deadline = self._manners.deadline()
        if error := self._manners.overdue(now):
            self._refuse(error)
        elif deadline is not None:
            self._alarm = asyncio.get_running_loop().call_later(deadline - now, self._watch_deadline)

    def _refuse(self, error: GatewayError) -> None:
        self._refusals.note(error.code, self._who, "a socket, closed")
        self._subscriber.close(error.close_code, error.code, last_words=error_message(error))

    def _take(self, event: ClientEvent) -> None:
        match event:
            case FrameIn() if not self._may_publish:
                raise WrongScope("this credential allows to view, not to publish")
            case FrameIn():
                self._session.claim(self, resume=self._resume)
                if self._alarm is None:  # the first frame of a socket that negotiated nothing
                    self._watch_deadline()
                if event.kind == "jpeg":
                    self._taken(self._session.put(event.image, seq=event.seq, captured_at=event.captured_at), event.seq)
                elif self._foreign.put(event) is not None:
                    self._session.ingest_dropped["replaced"] += 1
            case SubscribeIn():
                self._subscribe(event)
                self._subscriber.put_message(message("subscribed", frames=event.pictures, topics=list(event.topics)))
            case RelayIn() if not self._may_publish:  # older viewers say all kinds of things, so it costs them nothing
                self._subscriber.put_message(error_message(WrongScope("this credential allows to view only")))
            case RelayIn():
                self._session.relay(event.data, self._subscriber)
            case HelloIn():
                self._resume = event.resume
                self._subscriber.tokens = frozenset({self.token, event.resume or self.token})
            case PingIn():
                self._subscriber.put_message(message("pong"))
            case AckIn():
                pass  # the protocol has noted that this publisher acknowledges

    def _taken(self, frame: Frame | None, seq: int | None) -> None:
        """A picture was readable; the frame it became, or None if it came too fast."""
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
                frame = await self._session.put_foreign(self, event.image, seq=event.seq, captured_at=event.captured_at)
                self._taken(frame, event.seq)
            except GatewayError as error:
                if not self._forgive(error, self._clock()):
                    return

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
                await self._send(self._wrapped(item))
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
