"""WebSockets (RFC 6455) for uvicorn: what a peer may make us hold has a limit, and a fault gets its close code.

`websockets` parses the frames, out of a reader of ours that costs it less. Nothing else is done for a message that is
as it should be, beyond what uvicorn does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import SecurityError
from websockets.frames import CloseCode, Frame
from websockets.streams import StreamReader

from gateway.engine.admission import Admission, Visit
from gateway.peer import TransportPeer

LINGER_S = 1.0  # how long who broke the protocol has to read the close code
WAITING = 64  # frames parsed at once, and messages that may wait for the application when the next are
SMALL = 64  # bytes whose copy costs less than a view of them
CODES: dict[int, str] = {
    CloseCode.PROTOCOL_ERROR: "ws_protocol",
    CloseCode.INVALID_DATA: "ws_protocol",
    CloseCode.MESSAGE_TOO_BIG: "ws_too_big",
}


class FrameReader(StreamReader):
    """What was read, for the parser: at most `left` frames more of it, and uncopied where a frame lies in one read.

    websockets' own copies each byte twice before it is unmasked, and hands out 40,000 frames of 6 bytes at once. Here
    `buffer` holds what has come of the part of a frame that the parser waits for (of the handshake, all).
    """

    def __init__(self) -> None:
        super().__init__()
        self.left = WAITING
        self._data, self._at = b"", 0
        self._in_head = True

    @property
    def unread(self) -> bool:
        """Whether there is more than the parser may have now."""
        return bool(self._data)

    def feed_data(self, data: bytes | bytearray) -> None:
        if self._in_head:
            super().feed_data(data)
        elif data:
            self._data = self._data[self._at :] + bytes(data) if self._data else bytes(data)
            self._at = 0

    def at_eof(self) -> Generator[None, None, bool]:
        """Asked before each frame. Where `left` is used up it waits, as for data."""
        if self._in_head:
            self._in_head = False
            self._data, self.buffer = bytes(self.buffer), bytearray()
        while not (self._data and self.left):
            if self.eof and not self._data:
                return True
            yield
        self.left -= 1
        return False

    def read_exact(self, n: int) -> Generator[None, None, Any]:
        """As bytes, or as a view of them, which lives until the parser has unmasked it into bytes of its own."""
        while len(self._data) - self._at < n - len(self.buffer):
            self.buffer += memoryview(self._data)[self._at :]
            self._data, self._at = b"", 0
            if self.eof:
                raise EOFError(f"stream ends after {len(self.buffer)} bytes, expected {n} bytes")
            yield
        if self.buffer:
            self.buffer += self._taken(n - len(self.buffer))
            whole, self.buffer = self.buffer, bytearray()
            return whole
        return self._taken(n)

    def _taken(self, n: int) -> bytes | memoryview:
        data, start = self._data, self._at
        end = start + n
        if end == len(data):
            self._data, self._at = b"", 0
        else:
            self._at = end
        return data[start:end] if n < SMALL else memoryview(data)[start:end]

    def discard(self) -> None:
        super().discard()
        self._data, self._at = b"", 0


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
        self._reader = self.conn.reader = FrameReader()
        self.conn.parser = self.conn.parse()  # the one there is reads from the reader there was
        next(self.conn.parser)
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
        if self.close_sent:
            self._go_on()  # nobody takes messages any more, and the peer's close is behind them

    def start_keepalive(self) -> None:
        """uvicorn's place for what follows a handshake that was accepted."""
        if self._visit is not None:
            self._visit.settle()
        super().start_keepalive()

    def connection_lost(self, exc: Exception | None) -> None:
        accepted = self.handshake_complete and self.response_is_upgrade
        super().connection_lost(exc)
        self._gone = True
        self._reader.discard()
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
        self._reader.discard()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:  # TLS says its goodbye, and waits for the peer's
            self.transport.close()
        self.close_timer = self.loop.call_later(
            LINGER_S, self._abort
        )  # as long as there is one, uvicorn does not close

    def _abort(self) -> None:
        if not self._gone:
            LosingPeer(self.transport, self._lose).reset()

    def _lose(self) -> None:
        self.disconnected = True
        self.writable.set()

    # --- bytes -------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Have no more parsed than the application has taken: 256 KiB may be 40,000 messages of 6 bytes."""
        if self._deaf:
            return
        if self._reader.unread:
            self._reader.feed_data(data)
        else:
            self._reader.left = WAITING
            super().data_received(data)
        if self._reader.unread:
            self._go_on()

    def _go_on(self) -> None:
        while self._reader.unread and not self._deaf and (self.close_sent or self.queue.qsize() < WAITING):
            self._reader.left = WAITING
            super().data_received(b"")

    async def receive(self) -> Any:
        message = await super().receive()
        if self._reader.unread and self.queue.empty():
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

    def handle_close(self, event: Frame) -> None:
        """As uvicorn's, but the answer to a close is not lost when the peer goes on sending behind it."""
        if self.close_sent or self.transport.is_closing():
            super().handle_close(event)
            return
        assert self.conn.close_rcvd is not None
        code, reason = self.conn.close_rcvd.code, self.conn.close_rcvd.reason
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._linger()

    def handle_ping(self) -> None:
        """Answer, unless the peer does not take what it got so far; one that goes on asking is reset."""
        pong = b"".join(self.conn.data_to_send())
        if self._deaf or self.transport.is_closing():  # the last word is out, and nothing may follow it
            return
        if self.writable.is_set() or self.conn.close_sent is not None:  # the answer to a close may be behind the pong
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
