"""Pulse: whether the event loop keeps turning. Everything else of the gateway waits while one call does not return.

The lag is how much later than asked a timer fires. A loop that stands still cannot say so itself: a thread watches, and
logs what the loop's thread is doing.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

BEAT_S = 0.1
WINDOW_S = 10.0  # the lag that is told is the worst of this long
STACK_LINES = 12

log = logging.getLogger(__name__)


class Pulse:
    """The loop's lag, and its hangs of more than `hang_s`. `clock` is monotonic seconds, the same in all threads."""

    def __init__(self, hang_s: float, degraded_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.hangs = 0
        self._hang_s = hang_s
        self._degraded_s = degraded_s
        self._clock = clock
        self._beat_at = clock()
        self._worst: list[tuple[float, float]] = []  # lags of the window, each worse than all after it
        self._hung_at = float("-inf")
        self._over = threading.Event()
        self._loop_thread = 0

    @property
    def lag_s(self) -> float:
        """The worst lag of the last ten seconds."""
        self._drop_old(self._clock())
        return self._worst[0][1] if self._worst else 0.0

    @property
    def tasks(self) -> int:
        """Tasks of the loop that have not ended; 0 where no loop runs."""
        try:
            return len(asyncio.all_tasks())
        except RuntimeError:
            return 0

    @property
    def degraded(self) -> bool:
        """Whether the loop hung a short while ago."""
        return self._clock() - self._hung_at < self._degraded_s

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Beat, and be watched, until the end of the block."""
        self._loop_thread = threading.get_ident()
        self._beat_at = self._clock()
        self._over.clear()
        watcher = threading.Thread(target=self._watch, name="pulse", daemon=True)
        watcher.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                beats = tasks.create_task(self._beats())
                try:
                    yield
                finally:
                    beats.cancel()
        finally:
            self._over.set()
            watcher.join()

    async def _beats(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self.beat()

    def beat(self) -> None:
        """The loop has come round."""
        now = self._clock()
        lag = max(0.0, now - self._beat_at - BEAT_S)
        self._beat_at = now
        if lag >= self._hang_s:
            self._hung_at = now
        self._drop_old(now)
        while self._worst and self._worst[-1][1] <= lag:
            self._worst.pop()
        self._worst.append((now, lag))

    def _drop_old(self, now: float) -> None:
        while self._worst and now - self._worst[0][0] > WINDOW_S:
            self._worst.pop(0)

    def _watch(self) -> None:
        """In a thread of its own: report each hang once, as soon as it is one."""
        step = min(0.25, self._hang_s / 4)
        reported = None
        looked_at = self._clock()
        while not self._over.wait(step):
            before, looked_at = looked_at, self._clock()
            beat_at = self._beat_at
            stood_still = looked_at - before > step + self._hang_s / 2  # the whole process was stopped, or the machine
            if looked_at - beat_at > self._hang_s and not stood_still and reported != beat_at:
                reported = beat_at
                self.hangs += 1
                log.error("the event loop stands still for %.1f s, in:\n%s", looked_at - beat_at, self._stack())

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._loop_thread)
        return "".join(traceback.format_stack(frame)[-STACK_LINES:]) if frame else "nowhere"
