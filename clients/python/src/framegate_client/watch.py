"""A viewer: results, events and, if it asks for them, pictures of one stream, in order.

Who reads slowly loses the oldest and hurts nobody: events stay longest, and of pictures only the newest waits.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from math import inf
from typing import Self

from framegate_client.answers import Stream
from framegate_client.connection import Connection
from framegate_client.messages import Event, Frame, Message
from framegate_client.protocol import Pictures, Topic, subscribe
from framegate_client.transport import Transport

INBOX_MESSAGES = 64


class Inbox:
    """Messages that wait for their reader; `put` never waits."""

    def __init__(self, capacity: int = INBOX_MESSAGES) -> None:
        self.dropped: Counter[str] = Counter()  # "messages" and "pictures" that nobody took in time
        self._waiting: deque[Message] = deque()
        self._capacity = capacity

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Message) -> None:
        if isinstance(message, Frame):
            self._drop(next((old for old in self._waiting if isinstance(old, Frame)), None), "pictures")
        elif len(self._waiting) >= self._capacity:
            lossy = (old for old in self._waiting if not isinstance(old, (Event, Frame)))
            self._drop(next(lossy, None) or self._waiting[0], "messages")
        self._waiting.append(message)

    def take(self) -> Message | None:
        return self._waiting.popleft() if self._waiting else None

    def _drop(self, message: Message | None, kind: str) -> None:
        if message is not None:
            index = next(i for i, waiting in enumerate(self._waiting) if waiting is message)
            del self._waiting[index]
            self.dropped[kind] += 1


class AsyncWatch(Connection):
    """Iterate it: each message as its own type, until the stream is over; `reason` then says why it is."""

    def __init__(
        self,
        transport: Transport,
        stream: Stream,
        *,
        frames: Pictures = "none",
        topics: Sequence[Topic] | None = None,
        outage_s: float = inf,
    ) -> None:
        super().__init__(transport, stream, outage_s=outage_s)
        self._frames: Pictures = frames
        self._topics = topics
        self._inbox = Inbox()

    @property
    def dropped(self) -> Counter[str]:
        """Messages and pictures that were not read in time; what the gateway dropped is in its results."""
        return self._inbox.dropped

    async def subscribe(self, *, frames: Pictures = "none", topics: Sequence[Topic] | None = None) -> None:
        """Ask for something else from now on; without `topics`, for all of them."""
        self._frames, self._topics = frames, topics
        await self._opened()

    async def get(self) -> Message | None:
        """The next message; None when the stream is over. Raises what ended it otherwise."""
        await self._until(lambda: len(self._inbox) > 0 or self.state == "ended")
        message = self._inbox.take()
        if message is None:
            self._check()
        return message

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        message = await self.get()
        if message is None:
            raise StopAsyncIteration
        return message

    async def _opened(self) -> None:
        await self._say(subscribe(self._frames, self._topics))

    def _received(self, message: Message) -> None:
        self._inbox.put(message)
