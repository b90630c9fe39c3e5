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
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway.engine.hub import Hub
from gateway.settings import Settings

log = logging.getLogger(__name__)

BACKLOG = 1024
SEND_BUFFER = 256 * 1024  # what the kernel may hold for one peer, before its slowness becomes ours to see
USER_TIMEOUT_MS = 10_000  # unacknowledged data for this long ends the connection (RFC 5482)


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
            with suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    return reset


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1; hands the application a way to reset its connection."""

    def on_headers_complete(self) -> None:
        self.scope["extensions"] = {"framegate.reset": {"reset": _reset(self.transport)}}
        super().on_headers_complete()


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """WebSocket; the same."""

    async def run_asgi(self) -> None:
        self.scope["extensions"]["framegate.reset"] = {"reset": _reset(self.transport)}
        await super().run_asgi()


class Server(uvicorn.Server):
    """Drains on SIGTERM or SIGINT before uvicorn begins to close; a second signal ends the process at once."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub
        self._stopping: asyncio.Task[None] | None = None
        self._signals = 0

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn would raise the signal again after its shutdown, so that the exit code were not 0."""
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

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

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
