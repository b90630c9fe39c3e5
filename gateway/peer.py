"""The other end of one connection, as its transport knows it: how far it has got with what it was sent, and its end.

Whether a peer takes anything cannot be seen from a send that waits: a slow one with a large picture on the way waits as
long as a dead one. Linux counts the bytes that a peer acknowledged (`TCP_INFO`); elsewhere the transport's own queue
must do.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from struct import Struct, pack
from typing import Protocol

_TCP_INFO = getattr(socket, "TCP_INFO", 0)  # Linux has it
_COUNTS = Struct("@24xI92xQ16xI")  # of struct tcp_info: tcpi_unacked, tcpi_bytes_acked, tcpi_notsent_bytes


class Peer(Protocol):
    """What the engine wants of a connection."""

    def reset(self) -> None: ...

    def progress(self) -> int | None:
        """How much it has taken so far, in bytes of any origin; None while it owes nothing."""


class TransportPeer:
    """The peer of an asyncio transport."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def reset(self) -> None:
        """Cut the connection at once. Closing, even aborting, would leave the queue in the kernel for its own time."""
        raw = self._transport.get_extra_info("socket")
        if raw is not None:
            with suppress(OSError, ValueError):  # gone already, of which uvloop complains as a negative descriptor
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        self._transport.abort()

    def progress(self) -> int | None:
        """As `Peer`. Without the kernel's count, what left our own queue stands for what was taken."""
        waiting = self._transport.get_write_buffer_size()
        counts = self._counts()
        if counts is None:
            return -waiting if waiting else None
        unacknowledged, acknowledged, unsent = counts
        return acknowledged if waiting or unacknowledged or unsent else None

    def _counts(self) -> tuple[int, int, int] | None:
        raw = self._transport.get_extra_info("socket") if _TCP_INFO else None
        if raw is None:
            return None
        try:
            info = raw.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _COUNTS.size)
        except (OSError, ValueError):  # gone, or no TCP at all
            return None
        if len(info) < _COUNTS.size:  # a kernel before 4.6
            return None
        unacknowledged, acknowledged, unsent = _COUNTS.unpack(info)
        return unacknowledged, acknowledged, unsent
