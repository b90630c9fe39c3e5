"""A camera that offers two streams: the smaller one is analysed, the larger one is read only while somebody watches.

One of them is read at a time, but for the moment of change: the new one gives its first picture before the old one is
closed, so neither viewers nor analyzers have a gap. What is seen is the same; boxes are shares of the picture.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.connectors.pull import Pull
from gateway.engine.session import Session
from gateway.media.messages import Packets, Shot, Told, Wish
from gateway.media.pool import MediaPool
from gateway.media.sources import Source
from gateway.media.worker import Feed


class TwofoldPull(Pull):
    """`sub` is what is analysed, `main` what people see."""

    def __init__(
        self, session: Session, main: Source, sub: Source, *, pool: MediaPool, clock: Callable[[], float]
    ) -> None:
        super().__init__(session, sub, pool=pool, clock=clock)
        self._main, self._sub = main, sub
        self._next: Feed | None = None  # the other one, until its first picture
        self._told_of_next: Told | None = None
        self._watched_at = float("-inf")

    # --- what people do ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        if self._feed is None:
            self._source = self._wanted()
        super().start()

    def _close_feed(self) -> None:
        self._give_up_change()
        super()._close_feed()

    # --- what the pool tells -----------------------------------------------------------------------------------------

    def picture(self, shot: Shot, jpeg: bytes) -> None:
        if self._next is not None and shot.number == self._next.number:
            self._change_over(self._next)
        super().picture(shot, jpeg)

    def packets(self, packets: Packets, data: bytes) -> None:
        if self._feed is not None and packets.number == self._feed.number:
            super().packets(packets, data)

    def told(self, told: Told) -> None:
        """How the other one is doing is told from its first picture on."""
        if self._next is None or told.number != self._next.number:
            super().told(told)
        else:
            self._told_of_next = told

    def wish(self, number: int) -> Wish | None:
        if self._session.reason is None and self._feed is not None and number == self._feed.number:
            self._choose()
        return super().wish(number)

    # --- which of them -----------------------------------------------------------------------------------------------

    def _wanted(self) -> Source:
        """The larger one while somebody watches, and for a while after that."""
        now = self._clock()
        if self._session.audience.picture_viewers():
            self._watched_at = now
        return self._main if now - self._watched_at <= self._session.settings.media.main_s else self._sub

    def _choose(self) -> None:
        wanted = self._wanted()
        if wanted is self._source:
            self._give_up_change()
        elif self._next is None:
            self._told_of_next = None
            self._next = self._pool.open(wanted, self)

    def _give_up_change(self) -> None:
        other, self._next = self._next, None
        if other is not None:
            self._pool.close(other)

    def _change_over(self, other: Feed) -> None:
        """The other one has its first picture: it is the one that is read from now on."""
        before, self._feed, self._next = self._feed, other, None
        self._source = self._main if self._source is self._sub else self._sub
        self._session.recorder.begin_anew()
        if before is not None:
            self._pool.close(before)
        if self._told_of_next is not None:
            super().told(self._told_of_next)


def camera_of(
    session: Session, source: Source, sub: Source | None, *, pool: MediaPool, clock: Callable[[], float]
) -> Pull:
    """What reads a camera for a session; `sub` is its smaller stream, if it offers one."""
    if sub is None:
        return Pull(session, source, pool=pool, clock=clock)
    return TwofoldPull(session, source, sub, pool=pool, clock=clock)
