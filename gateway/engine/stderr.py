"""Stderr: what a worker writes to its standard error, in the gateway's log under the worker's name, and not too much.

Native libraries complain there about every damaged picture, and plugins print there. Whoever sends damaged pictures on
purpose would fill the disk with it, so lines have a rate, and so have bytes: beyond it the worker waits, nobody else.
"""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from gateway.engine.rate import Allowance

log = logging.getLogger("worker.stderr")

AT_ONCE = 100  # lines: a traceback of some depth should come through whole
MAX_LINE = 2000  # bytes of a line that are logged
BYTES_PER_S = 2**20  # read from one worker; looking through them takes a few percent of a core


class Stderr(asyncio.Protocol):
    """The reading end of one worker process. `left_out` counts lines that were not logged."""

    def __init__(self, worker: str, lines: Allowance) -> None:
        self._worker = worker
        self._lines = lines
        self._rest = b""
        self._unsaid = 0
        self._transport: asyncio.ReadTransport | None = None
        self._ended = asyncio.Event()
        self.left_out = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.ReadTransport, transport)  # uvloop's is none by name

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            lines.append(self._rest)
            self._rest = b""
        self._take([line for line in lines if line.strip()])
        assert self._transport is not None
        self._transport.pause_reading()
        asyncio.get_running_loop().call_later(len(data) / BYTES_PER_S, self._transport.resume_reading)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._rest.strip():
            self._take([self._rest])
        if self._unsaid:
            log.warning("%s: %d more lines were left out", self._worker, self._unsaid)
        self._ended.set()

    async def end(self, within_s: float) -> None:
        """Read what the process that has gone left behind. Something that it started may still hold the other end."""
        try:
            async with asyncio.timeout(within_s):
                await self._ended.wait()
        except TimeoutError:
            assert self._transport is not None
            self._transport.close()

    def _take(self, lines: list[bytes]) -> None:
        now = asyncio.get_running_loop().time()
        for number, line in enumerate(lines):
            if not self._lines.take(now):  # nor will there be one for those behind it
                self._unsaid += len(lines) - number
                self.left_out += len(lines) - number
                return
            self._say(line[:MAX_LINE].decode(errors="backslashreplace").rstrip("\r"))

    def _say(self, text: str) -> None:
        unsaid, self._unsaid = self._unsaid, 0
        before = f" ({unsaid} lines before it were left out)" if unsaid else ""
        log.warning("%s: %s%s", self._worker, text, before)
