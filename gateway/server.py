"""The server around the application: our own socket (`listener`), protocols (`http1`, `ws`) and shutdown.

uvicorn is subclassed at its documented seams (`Config(http=, ws=)`, `Server.run(sockets=)`); a plain
`uvicorn gateway.app:app` has none of this.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE

from gateway.engine.admission import most_descriptors
from gateway.engine.hub import Hub
from gateway.http1 import HttpProtocol
from gateway.listener import bind
from gateway.settings import Settings
from gateway.ws import WebSocketProtocol

log = logging.getLogger(__name__)

__all__ = ["Server", "bind", "make_server"]


THREADS, THREADS_S = 6, 10.0
GOODBYE_S = 0.5  # for a client's end of TLS, when the server ends


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

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's for sockets that are given, but a TLS handshake has no longer than a header, not a minute."""
        self._loop.set_default_executor(_ready_threads())
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        config = self.config
        protocol: Any = config.http_protocol_class
        make = partial(
            protocol,
            config=config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        within = self._hub.settings.limits.header_s if config.is_ssl else None
        for listener in sockets or ():
            self.servers.append(
                await self._loop.create_server(
                    make, sock=listener, ssl=config.ssl, ssl_handshake_timeout=within, backlog=config.backlog
                )
            )
        self.started = True

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

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, but TLS would wait half a minute for the goodbye of a client that only keeps its connection."""
        if self.config.is_ssl:
            self._loop.call_later(GOODBYE_S, self._cut)
        await super().shutdown(sockets)

    def _cut(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def make_server(app: FastAPI, settings: Settings, *, tls: ssl.SSLContext | None = None) -> Server:
    """A server for the application, not yet running. `run(sockets=[bind(...)])` runs it."""
    limits = settings.limits
    hub: Hub = app.state.hub
    hub.admission.descriptors = most_descriptors()
    arguments: dict[str, Any] = {
        "http": partial(HttpProtocol, admission=hub.admission),
        "ws": WebSocketProtocol,
        "ws_max_size": limits.max_message_bytes,
        "ws_per_message_deflate": False,  # JPEG does not compress; a deflate bomb does
        "ws_ping_interval": limits.ping_s,
        "ws_ping_timeout": limits.ping_s,
        "timeout_keep_alive": limits.keep_alive_s,
        "timeout_graceful_shutdown": 3,
        "proxy_headers": False,  # uvicorn would believe whoever connects from this machine
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "backlog": limits.backlog,
    }
    if tls is not None:
        arguments["ssl_context_factory"] = lambda config, default: tls
    return Server(uvicorn.Config(app, **arguments), hub)


def _ready_threads() -> ThreadPoolExecutor:
    """Threads that are there before the first client: asked for under pressure, one more might not be had.

    Raises `RuntimeError` if they cannot be had at all.
    """
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="gateway")
    all_there = threading.Barrier(THREADS + 1, timeout=THREADS_S)
    for _ in range(THREADS):
        pool.submit(all_there.wait)
    all_there.wait()
    return pool
