"""Outbox: what a child's WebRTC side has to say to the gateway, sent by a thread of its own, so that nobody waits."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from threading import Condition, Thread

from gateway.media.messages import Report, Shot

Send = Callable[[Report, bytes], None]


class Outbox:
    """Reports go in their order; of each peer's pictures only the newest waits."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._reports: deque[Report] = deque()
        self._pictures: dict[int, tuple[Shot, bytes]] = {}
        self._work = Condition()
        Thread(target=self._run, name="outbox", daemon=True).start()

    def tell(self, report: Report) -> None:
        with self._work:
            self._reports.append(report)
            self._work.notify()

    def picture(self, shot: Shot, jpeg: bytes) -> bool:
        """False if one that nobody has seen was replaced by it."""
        with self._work:
            first = shot.number not in self._pictures
            self._pictures[shot.number] = shot, jpeg
            self._work.notify()
        return first

    def forget(self, number: int) -> None:
        """Leave out the picture of a peer that is over."""
        with self._work:
            self._pictures.pop(number, None)

    def _run(self) -> None:
        try:
            while True:
                self._send(*self._next())
        except OSError:  # the gateway has gone
            os._exit(0)

    def _next(self) -> tuple[Report, bytes]:
        with self._work:
            while not (self._reports or self._pictures):
                self._work.wait()
            if self._reports:
                return self._reports.popleft(), b""
            return self._pictures.pop(next(iter(self._pictures)))
