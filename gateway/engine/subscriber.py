"""Subscriber: one viewer's mailboxes, whatever transport it watches by."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from gateway.engine.mailbox import Bell, Closed, Mailbox
from gateway.engine.picture import Picture
from gateway.peer import Peer
from gateway.protocol import TOPICS, Pictures, Topic


class Subscriber:
    """Messages as they will be sent, and the newest picture; a slow viewer loses the oldest and hurts nobody.

    `next()` has one caller: the writer of that viewer's transport.
    """

    def __init__(
        self,
        *,
        messages: int,
        topics: Iterable[Topic] = TOPICS,
        pictures: Pictures = "none",
        fill: bool = False,
        peer: Peer | None = None,
    ) -> None:
        """`fill`: while there is nothing new, show it the last picture again, or a slate that says why.

        `peer` is the other end of its connection, if the server tells of it; the transport takes it away when it ends
        by itself. `resting` is set while a viewer of few pictures per second would not take another one.
        """
        bell = Bell()
        self._messages: Mailbox[str] = Mailbox(messages, bell)
        self._pictures: Mailbox[Picture] = Mailbox(1, bell)
        self._ack: str | None = None
        self._bell = bell
        self.topics = frozenset(topics)
        self.pictures: Pictures = pictures
        self.fill = fill
        self.peer = peer
        self.tokens: frozenset[str] = frozenset()  # of publishers that it is, or whose place it may take
        self.farewell: tuple[int, str] | None = None
        self.over = asyncio.Event()  # set with the farewell
        self.since = time.monotonic()
        self.shown_at = float("-inf")
        self.resting = False
        self._thinned = 0
        self._progress: int | None = None
        self._moved_at = float("-inf")

    @property
    def dropped(self) -> dict[str, int]:
        """What it was too slow for; pictures it did not ask for are none."""
        return {"messages": self._messages.dropped, "pictures": self._pictures.dropped - self._thinned}

    def put_message(self, text: str) -> None:
        self._messages.put(text)

    def put_picture(self, picture: Picture) -> None:
        gone = self._pictures.put(picture)
        if self.resting and gone is not None and gone is not picture:
            self._thinned += 1

    def put_ack(self, text: str) -> None:
        """An acknowledgement says all that earlier ones said, so only the newest waits."""
        self._ack = text
        self._bell.ring()

    def close(self, code: int = 1000, reason: str = "", *, last_words: str | None = None) -> None:
        """Deliver what is there, then end with this close code."""
        if self.farewell is None:
            if last_words is not None:
                self._messages.put(last_words)
            self.farewell = (code, reason)
            self.over.set()
            self._messages.close()
            self._pictures.close()

    def stalled(self, now: float, after_s: float) -> bool:
        """Whether it has taken not one byte of what waits for it for so long. To be asked now and then."""
        progress = self.peer.progress() if self.peer is not None else None
        if progress is None or progress != self._progress:
            self._progress, self._moved_at = progress, now
            return False
        return now - self._moved_at > after_s

    def cut(self) -> None:
        """End its transport at once, if that has not ended by itself."""
        if self.peer is not None:
            self.peer.reset()

    def take_messages(self) -> list[str]:
        """Every message that waits now; never waits itself."""
        return [text for _ in range(len(self._messages)) if (text := self._messages.take()) is not None]

    async def next(self) -> str | Picture:
        """What to send next: an acknowledgement, then messages, then the newest picture. Raises `Closed`."""
        while True:
            if self._ack is not None:
                text, self._ack = self._ack, None
                return text
            item = self._messages.take() or self._pictures.take()
            if item is not None:
                return item
            if self.farewell is not None:
                raise Closed
            await self._bell.wait()
