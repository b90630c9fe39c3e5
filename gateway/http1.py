"""HTTP/1.x for uvicorn, with an end to everything that a peer may begin: header, body, connection.

httptools has no limit on a header and uvicorn no deadline for one. Faults are answered here, before there is a scope;
each is a problem document (RFC 9457) and ends the connection, since nobody knows where the next request would begin.
"""

from __future__ import annotations

import asyncio
from functools import partial
from http import HTTPStatus
from typing import Any

import httptools
from starlette.types import Message, Send
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.engine.admission import CROWDED_S, Admission, Visit
from gateway.last_answer import last_answer
from gateway.peer import TransportPeer
from gateway.web import problem
from gateway.ws import LosingPeer, WebSocketProtocol

LINGER_S = 1.0  # how long who was refused has to read why
SETTLED_BYTES = 65536  # a body of which so much has come is meant
LAST_S = 2.0  # what a connection has that was let in for one answer


class Fault(Exception):
    """A request that cannot be: its status, code and a sentence. httptools replaces it by an error of its own."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


MALFORMED = Fault(400, "http_malformed", "this is not an HTTP/1.1 request")
TOO_SLOW = Fault(408, "http_slow", "the request came too slowly")


class HttpProtocol(HttpToolsProtocol):
    """One connection. Its application gets the peer, the visit, and a way to send endless bodies straight."""

    def __init__(self, *, admission: Admission, **given: Any) -> None:
        super().__init__(**given)
        self._admission = admission
        self._limits = admission.limits
        self._visit: Visit | None = None
        self._deaf = False
        self._running: RequestResponseCycle | None = None
        self._fault: Fault | None = None
        self._in_head = True  # or before it
        self._begun = False  # a request whose header is not complete
        self._head_bytes = 0
        self._body_bytes = 0
        self._dry_bytes = 0  # since the last that were a part of the body
        self._timer: asyncio.TimerHandle | None = None  # of the header, then of the body

    # --- the connection ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        raw = transport.get_extra_info("socket")
        address = self.client[0] if self.client else ""
        self._visit = self._admission.enter(address, raw.fileno() if raw is not None else 0)
        if self._visit is None:
            self._deaf = True
            TransportPeer(transport).reset()
            return
        self._visit.cut = self._end_now
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._unset_keepalive_if_required()
        if self._visit is not None:
            self._visit.end()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- bytes -------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        if self._in_head:
            self._head_bytes += len(data)
            if self._timer is None and self._idle:
                self._expect_head()  # the first byte after an answer
        else:
            self._body_bytes += len(data)
            self._dry_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(len(data) - int(upgrade.args[0]))
        except httptools.HttpParserError:
            self._refuse(self._fault or MALFORMED)
        else:
            self._after()

    def _after(self) -> None:
        """Whatever the parser has made of the bytes: is the header too long, or is there a body to wait for?"""
        most = self._limits.max_header_bytes
        if self._in_head:
            if self._head_bytes > most:
                self._refuse(_too_large(most))
        elif self._dry_bytes > most:
            self._refuse(Fault(431, "header_too_large", f"trailers or chunk extensions of more than {most} bytes"))
        elif self._timer is None:
            self._expect_body()

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    # --- the header --------------------------------------------------------------------------------------------------

    def _expect_head(self) -> None:
        left = self._limits.header_s
        self._timer = self.loop.call_later(min(left, self._hurry), self._head_is_late, self.loop.time() + left)

    @property
    def _hurry(self) -> float:
        """How long it may take at most while there is little room."""
        if self._visit is not None and self._visit.last:
            return LAST_S
        return CROWDED_S if self._visit is not None and self._visit.crowded else self._limits.header_s

    def _head_is_late(self, deadline: float) -> None:
        left = deadline - self.loop.time()
        self._timer = None
        if left > 0 and self._hurry >= self._limits.header_s:  # there is room again
            self._timer = self.loop.call_later(left, self._head_is_late, deadline)
        elif self._head_bytes or self._begun:
            self._refuse(TOO_SLOW)
        else:  # has said nothing, and is told nothing
            self._admission.refusals.note("http_slow", self._who)
            self._end_now()

    def on_message_begin(self) -> None:
        self._begun = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:  # a trailer (RFC 9112 section 7.1.2): uvicorn would add it to the request's header
            return
        if len(self.headers) >= self._limits.max_headers:
            self._raise(Fault(431, "header_too_large", f"more than {self._limits.max_headers} header fields"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._stop_timer()
        self._check_head()
        self._in_head = self._begun = False
        self._head_bytes = self._body_bytes = self._dry_bytes = 0
        super().on_headers_complete()

    def _check_head(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._limits.max_header_bytes:
            self._raise(_too_large(self._limits.max_header_bytes))
        names = [name for name, _ in self.headers]
        hosts = names.count(b"host")
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() != "1.0"):
            self._raise(Fault(400, "http_malformed", "expected one Host header (RFC 9112 section 3.2)"))
        if b"transfer-encoding" in names and self.parser.get_http_version() == "1.0":
            self._raise(Fault(400, "http_malformed", "HTTP/1.0 has no Transfer-Encoding (RFC 9112 section 6.1)"))
        if len(self.pipeline) >= self._limits.max_pipelined:
            self._raise(Fault(429, "http_pipeline", f"more than {self._limits.max_pipelined} requests at once"))

    def _raise(self, fault: Fault) -> None:
        self._fault = fault
        raise fault

    def on_message_complete(self) -> None:
        self._stop_timer()
        self._in_head = True
        super().on_message_complete()

    # --- the body ----------------------------------------------------------------------------------------------------

    def _expect_body(self) -> None:
        if self._limits.body_bytes_per_s:
            self._timer = self.loop.call_later(self._limits.body_s, self._look_at_body)

    def on_body(self, body: bytes) -> None:
        self._dry_bytes = 0
        super().on_body(body)

    def _look_at_body(self) -> None:
        self._timer = None
        if self._visit is not None and self._body_bytes >= SETTLED_BYTES:
            self._visit.settle()
        ours = self.flow.read_paused  # it is us who take nothing now
        if not ours and self._body_bytes < self._limits.body_bytes_per_s * self._limits.body_s:
            self._refuse(TOO_SLOW)
        else:
            self._body_bytes = 0
            self._expect_body()

    # --- refusals ----------------------------------------------------------------------------------------------------

    @property
    def _who(self) -> str:
        return self._visit.address if self._visit is not None else ""

    def _refuse(self, fault: Fault) -> None:
        """Say why, unless an answer to an earlier request is under way; then end the connection."""
        self._admission.refusals.note(fault.code, self._who, fault.detail)
        self._stop_timer()
        cycle = self.cycle
        mine = not self._in_head  # the request whose answer is not complete is the one that is refused
        if self.pipeline or (not self._idle and mine and cycle.response_started):
            self._end_now()
        elif not self._idle and not mine:
            self._deaf = True  # nothing after that answer
            cycle.keep_alive = False
        else:
            self.transport.write(_answer(fault))
            if not self._idle:
                cycle.disconnected = True
                cycle.message_event.set()
            self._linger()

    def _end_now(self) -> None:
        self._deaf = True
        self._lose()
        TransportPeer(self.transport).reset()

    def _lose(self) -> None:
        """uvloop takes no more for a connection that was cut, even before it says that it is lost."""
        for cycle in (self._running, self.cycle):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()

    def _linger(self) -> None:
        """End, but not at once: with unread bytes that would be a reset, and the answer might be lost."""
        self._deaf = True
        self._stop_timer()
        self._unset_keepalive_if_required()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.abort)

    # --- requests ----------------------------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if cycle.scope["http_version"] == "1.0":
            cycle.send = _unframed(cycle)  # type: ignore[method-assign, assignment]
        elif cycle.more_body:
            cycle.send = _last_of_all(cycle)  # type: ignore[method-assign, assignment]
        self._running = cycle
        cycle.scope["extensions"] = {
            "framegate.peer": {"peer": LosingPeer(self.transport, self._lose)},
            "framegate.send": {"send": _straight(cycle)},
            "framegate.visit": {"visit": self._visit},
        }
        if self._visit is not None and self._visit.last:
            self._admission.asked(self._visit)
            app = last_answer(app, self._visit.last)
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """uvicorn would go on reading a body that is answered already, for as long as it comes."""
        unread = not self.pipeline and self.cycle.more_body
        super().on_response_complete()
        if self.transport.is_closing() or self._deaf:
            return
        if unread:
            self._linger()
        elif self._in_head and self._begun and self._timer is None:
            self._unset_keepalive_if_required()
            self._expect_head()  # of a request that began to come while the answer went out

    # --- WebSockets --------------------------------------------------------------------------------------------------

    def _upgrade(self, early: int) -> None:
        """`early`: bytes that came before the handshake was answered."""
        if not self._should_upgrade():
            return  # an upgrade we do not know is an ordinary request (RFC 9110 section 7.8)
        self._stop_timer()
        if not self._idle or self.pipeline:
            self._refuse(Fault(400, "http_malformed", "a WebSocket cannot begin while a request is being answered"))
        elif early:
            self._refuse(Fault(400, "http_malformed", "data before the handshake was answered (RFC 6455 section 4.1)"))
        elif self._visit is not None and self._visit.last:
            self._refuse(Fault(503, self._visit.last, "no connection is left for a WebSocket"))
        else:
            make: Any = partial(WebSocketProtocol, admission=self._admission, visit=self._visit)
            self.ws_protocol_class = make
            self.handle_websocket_upgrade()
            found = self.transport.get_protocol()
            assert isinstance(found, WebSocketProtocol)
            found.answer_failed_handshake()

    def _should_upgrade_to_ws(self) -> bool:
        return True


def _too_large(most: int) -> Fault:
    return Fault(431, "header_too_large", f"the header is larger than {most} bytes")


def _answer(fault: Fault) -> bytes:
    """A problem document as it goes over the wire."""
    document = problem({"type": "http"}, fault.status, fault.code, fault.detail, headers={"Connection": "close"})
    lines = [b"%s: %s" % header for header in document.raw_headers]
    phrase = HTTPStatus(fault.status).phrase.encode()
    return b"\r\n".join([b"HTTP/1.1 %d %s" % (fault.status, phrase), *lines, b"", bytes(document.body)])


def _straight(cycle: RequestResponseCycle) -> Send:
    """A `send` for the body: past all middleware, which looks at how an answer begins, and without uvicorn's copy.

    It joins a chunk's size and bytes for every client anew; here a part's bytes go to all of them as they are. With 50
    viewers of 60 KB pictures the middleware takes 10 % of the CPU and the copy 12 %.
    """
    flow, transport = cycle.flow, cycle.transport

    async def send(message: Message) -> None:
        if not (cycle.chunked_encoding and message["more_body"]):
            await cycle.send(message)  # type: ignore[arg-type]  # Starlette's messages are plain dicts
            return
        if flow.write_paused and not cycle.disconnected:
            await flow.drain()
        if not cycle.disconnected:
            body = message["body"]
            transport.writelines((b"%x\r\n" % len(body), body, b"\r\n"))

    return send


def _last_of_all(cycle: RequestResponseCycle) -> Send:
    """A `send` for who may be answered before all has come: then nothing is read after it, and the answer says so."""
    send_it = cycle.send

    async def send(message: Message) -> None:
        early = message["type"] == "http.response.start" and cycle.more_body
        if early:
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send_it(message)  # type: ignore[arg-type]
        if early:
            cycle.keep_alive = True  # uvicorn would close at once, with bytes unread; we linger

    return send


def _unframed(cycle: RequestResponseCycle) -> Send:
    """A `send` for HTTP/1.0, which knows no chunks: an answer without a length ends with its connection."""
    framed, endless = cycle.send, False

    async def send(message: Message) -> None:
        nonlocal endless
        if message["type"] == "http.response.start":
            endless = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
        if endless:  # every piece is just what was promised
            cycle.chunked_encoding = False
            cycle.expected_content_length = len(message.get("body", b""))
        await framed(message)  # type: ignore[arg-type]

    return send
