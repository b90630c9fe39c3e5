"""WebSockets (RFC 6455) for uvicorn: what a peer may make us hold has a limit, and a fault gets its close code.

`websockets` parses the frames. Nothing here is done for a message that is as it should be, beyond what uvicorn does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import SecurityError
from websockets.frames import CloseCode, Frame

from gateway.engine.admission import Admission, Visit
from gateway.peer import TransportPeer

LINGER_S = 1.0  # how long who broke the protocol has to read the close code
FIRST_SLICE, SLICE = 4096, 65536  # bytes given to the parser at once: the first shows whether messages are tiny
WAITING = 64  # messages that may wait for the application when the next slice is parsed
CODES: dict[int, str] = {
    CloseCode.PROTOCOL_ERROR: "ws_protocol",
    CloseCode.INVALID_DATA: "ws_protocol",
    CloseCode.MESSAGE_TOO_BIG: "ws_too_big",
}


class LosingPeer(TransportPeer):
    """A peer whose protocol is told before it is cut: uvloop raises when somebody goes on writing."""

    def __init__(self, transport: asyncio.Transport, lose: Callable[[], None]) -> None:
        super().__init__(transport)
        self._lose = lose

    def reset(self) -> None:
        self._lose()
        super().reset()


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection, from its handshake on."""

    def __init__(self, *, admission: Admission, visit: Visit | None, **given: Any) -> None:
        super().__init__(**given)
        self._admission = admission
        self._limits = admission.limits
        self._visit = visit
        self._rest = b""  # of what was read, while messages wait
        self._deaf = self._gone = False
        self._owed = 0  # bytes of pongs that were not sent since the peer takes nothing

    # --- the connection ----------------------------------------------------------------------------------------------

    async def run_asgi(self) -> None:
        self.scope["extensions"].update(
            {
                "framegate.peer": {"peer": LosingPeer(self.transport, self._lose)},
                "framegate.visit": {"visit": self._visit},
            }
        )
        await super().run_asgi()

    def start_keepalive(self) -> None:
        """uvicorn's place for what follows a handshake that was accepted."""
        if self._visit is not None:
            self._visit.settle()
        super().start_keepalive()

    def connection_lost(self, exc: Exception | None) -> None:
        accepted = self.handshake_complete and self.response_is_upgrade
        super().connection_lost(exc)
        self._gone = True
        self._rest = b""
        if self._visit is not None:
            self._visit.end()
        if accepted:
            self._admission.refusals.note_closed(self._close_code())

    @property
    def response_is_upgrade(self) -> bool:
        return self.initial_response is None and self.handshake_initiated and self.response.status_code == 101

    def _close_code(self) -> int:
        ours, theirs = self.conn.close_sent, self.conn.close_rcvd
        if ours is not None and (theirs is None or not self.conn.close_rcvd_then_sent):
            return int(ours.code)
        return int(theirs.code) if theirs is not None else int(CloseCode.ABNORMAL_CLOSURE)

    def answer_failed_handshake(self) -> None:
        """A handshake that the library cannot parse it leaves unanswered, and the peer waiting."""
        error = self.conn.handshake_exc
        if error is None or self.handshake_initiated:
            return
        large = isinstance(error, SecurityError) or isinstance(error.__cause__, SecurityError)  # of 17, and before it
        status, code = (431, "header_too_large") if large else (400, "http_malformed")
        self._admission.refusals.note(code, self._who, "a WebSocket handshake")
        self.handshake_complete = self.close_sent = True
        self.transport.write(b"HTTP/1.1 %d \r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % status)
        self._linger()

    @property
    def _who(self) -> str:
        return self._visit.address if self._visit is not None else ""

    def _linger(self) -> None:
        """End, but not at once: with unread bytes that would be a reset, and what was said might be lost."""
        self._deaf = True
        self._lose()
        self._rest = b""
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.loop.call_later(LINGER_S, self._abort)

    def _abort(self) -> None:
        if not self._gone:
            LosingPeer(self.transport, self._lose).reset()

    def _lose(self) -> None:
        self.disconnected = True
        self.writable.set()

    # --- bytes -------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Give the parser no more than the application has taken: 256 KiB may be 40,000 messages of 6 bytes."""
        if self._deaf:
            return
        if self._rest:
            self._rest += data
        elif len(data) <= FIRST_SLICE:
            super().data_received(data)
        else:
            self._rest = data
            self._go_on()

    def _go_on(self) -> None:
        rest, size = memoryview(self._rest), FIRST_SLICE
        while rest and not self._deaf and self.queue.qsize() < WAITING:
            super().data_received(rest[:size])  # type: ignore[arg-type]  # it goes into a buffer
            rest, size = rest[size:], SLICE
        self._rest = b"" if self._deaf else bytes(rest)

    async def receive(self) -> Any:
        message = await super().receive()
        if self._rest and self.queue.empty():
            self._go_on()
        return message

    # --- faults ------------------------------------------------------------------------------------------------------

    def handle_parser_exception(self) -> None:
        if self._deaf:
            return
        sent = self.conn.close_sent
        code = int(sent.code if sent is not None else CloseCode.PROTOCOL_ERROR)
        self._admission.refusals.note(CODES.get(code, "ws_protocol"), self._who, f"closed with {code}")
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": ""})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._linger()

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= self._limits.max_fragments:
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, f"more than {self._limits.max_fragments} fragments")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """uvicorn's, but text that is none is a peer's fault and no exception to log."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
            self.frames = []
            try:
                text = data.decode()
            except UnicodeDecodeError:
                self.conn.fail(CloseCode.INVALID_DATA, "not UTF-8")
                self.handle_parser_exception()
                return
            self.queue.put_nowait({"type": "websocket.receive", "text": text})
            if not self.read_paused:
                self.read_paused = True
                self.transport.pause_reading()
        else:
            super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        """Answer, unless the peer does not take what it got so far; one that goes on asking is reset."""
        pong = b"".join(self.conn.data_to_send())
        if self._deaf or self.transport.is_closing():  # the last word is out, and nothing may follow it
            return
        if self.writable.is_set():
            self._owed = 0
            self.transport.write(pong)
            return
        self._owed += len(pong)
        if self._owed > self._limits.max_control_bytes:
            self._admission.refusals.note("ws_control_flood", self._who, "pings, and no pong was taken")
            self._deaf = True
            self._abort()

    def keepalive_timeout(self) -> None:
        """uvicorn closes, and waits for ever until a peer that is not there has taken that."""
        super().keepalive_timeout()
        self._lose()
        self.loop.call_later(LINGER_S, self._abort)
