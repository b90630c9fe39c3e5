"""Mailbox: the only buffer type in the project. Bounded, drop-oldest, counted, one consumer; `put()` never waits.

A mailbox of capacity 1 is the latest-frame slot. Touched only on the event loop, so there is no lock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """The mailbox is closed and empty."""


class Bell:
    """Wakes one waiting consumer. Several mailboxes may share one, so that a consumer can wait for any of them."""

    __slots__ = ("_rung", "_waiter")

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Return at once if it rang since the last wait."""
        if not self._rung:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._rung = False


class Mailbox(Generic[T]):
    """At most `capacity` items; a full one forgets its oldest and counts it in `dropped`."""

    __slots__ = ("_bell", "_closed", "_items", "capacity", "dropped")

    def __init__(self, capacity: int, bell: Bell | None = None) -> None:
        if capacity < 1:
            raise ValueError(f"a mailbox holds at least 1 item, got capacity {capacity}")
        self.capacity = capacity
        self.dropped = 0
        self._items: deque[T] = deque()
        self._bell = bell or Bell()
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> T | None:
        """Add an item; the oldest one that had to go, if any. After `close()` the item itself is refused so."""
        if self._closed:
            return item
        gone = None
        if len(self._items) == self.capacity:
            gone = self._items.popleft()
            self.dropped += 1
        self._items.append(item)
        self._bell.ring()
        return gone

    def take(self) -> T | None:
        """The oldest item, or None if there is none; never waits."""
        return self._items.popleft() if self._items else None

    async def get(self) -> T:
        """The oldest item, waiting for one. Raises `Closed` once closed and empty."""
        while not self._items:
            if self._closed:
                raise Closed
            await self._bell.wait()
        return self._items.popleft()

    def close(self) -> None:
        """Take nothing more; what is inside can still be had."""
        self._closed = True
        self._bell.ring()

    @property
    def closed(self) -> bool:
        return self._closed
