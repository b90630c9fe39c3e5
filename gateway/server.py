"""The server around the application: our own socket, our own shutdown, and a way to cut off who takes nothing.

uvicorn is subclassed at its documented seams (`Config(http=, ws=)`, `Server.run(sockets=)`); a plain
`uvicorn gateway.app:app` has none of this.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import Message, Send
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway.engine.hub import Hub
from gateway.settings import Settings

log = logging.getLogger(__name__)

BACKLOG = 1024
SEND_BUFFER = 256 * 1024  # what the kernel may hold for one peer, before its slowness becomes ours to see
USER_TIMEOUT_MS = 10_000  # unacknowledged data for this long ends the connection (RFC 5482)
LINGER_S = 1.0  # how long who was refused in the middle of a body has to read why


def bind(host: str, port: int) -> socket.socket:
    """A listening socket whose accepted connections notice a dead peer by themselves. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    listener.listen(BACKLOG)
    return listener


def _reset(transport: asyncio.Transport) -> Callable[[], None]:
    """Cut a connection at once. Closing, even aborting, would leave the queue in the kernel for as long as it takes."""

    def reset() -> None:
        raw = transport.get_extra_info("socket")
        if raw is not None:
            with suppress(OSError, ValueError):  # gone already, of which uvloop complains as a negative descriptor
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    return reset


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


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.x; hands the application a way to reset its connection, and one to send endless bodies straight."""

    _lingering = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if cycle.scope["http_version"] == "1.0":
            cycle.send = _unframed(cycle)  # type: ignore[method-assign, assignment]
        cycle.scope["extensions"] = {
            "framegate.reset": {"reset": _reset(self.transport)},
            "framegate.send": {"send": _straight(cycle)},
        }
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        if not self._lingering:
            super().data_received(data)

    def on_response_complete(self) -> None:
        """uvicorn would go on reading a body that is answered already, for as long as it comes."""
        unread = not self.pipeline and self.cycle.more_body
        super().on_response_complete()
        if unread and not self.transport.is_closing():
            self._lingering = True
            self._unset_keepalive_if_required()
            self.transport.write_eof()  # closing at once would reset, and the answer might be lost
            self.loop.call_later(LINGER_S, self.transport.abort)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """WebSocket; the same."""

    async def run_asgi(self) -> None:
        self.scope["extensions"]["framegate.reset"] = {"reset": _reset(self.transport)}
        await super().run_asgi()


class Server(uvicorn.Server):
    """Drains on SIGTERM or SIGINT before uvicorn begins to close; a second signal ends the process at once."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self.servers = []  # none yet; a signal may come before uvicorn has made them
        self._hub = hub
        self._stopping: asyncio.Task[None] | None = None
        self._signals = 0

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn would raise the signal again after its shutdown, so that the exit code were not 0."""
        self._loop = asyncio.get_running_loop()
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            log.warning("second signal: leaving at once")
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        log.info("%s: draining", signal.Signals(number).name)
        self.stop()

    def stop(self) -> None:
        """Tell everybody, end the streams ourselves, then let uvicorn close. Callable from a signal handler."""
        self._loop.call_soon_threadsafe(self._begin_drain)

    def _begin_drain(self) -> None:
        if self._stopping is None:
            self._stopping = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        for listener in self.servers:
            listener.close()
        try:
            async with asyncio.timeout(self._hub.settings.limits.drain_s):
                await self._hub.drain()
                await asyncio.sleep(0.2)  # last words are on their way
        except TimeoutError:
            log.warning("streams did not end within %.0f s", self._hub.settings.limits.drain_s)
        self.should_exit = True


def make_server(app: FastAPI, settings: Settings) -> Server:
    """A server for the application, not yet running. `run(sockets=[bind(...)])` runs it."""
    arguments: dict[str, Any] = {
        "http": HttpProtocol,
        "ws": WebSocketProtocol,
        "ws_max_size": settings.limits.max_message_bytes,
        "ws_per_message_deflate": False,  # JPEG does not compress; a deflate bomb does
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": 20.0,
        "timeout_graceful_shutdown": 3,
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "backlog": BACKLOG,
    }
    return Server(uvicorn.Config(app, **arguments), app.state.hub)
