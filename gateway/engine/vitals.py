"""Vitals: whether a worker still lives, and what it weighs, seen from outside while nobody waits for its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psutil

from gateway.engine.worker import Worker, WorkerDied
from gateway.settings import Analysis

LOOK_S = 1.0  # how often its memory is looked at while it works
MIB = 2**20


class Vitals:
    """Pings a worker that is idle and weighs one that works. `activity` is None while it works, else a count of works.

    Raises `WorkerDied` in its tasks; the worker is started anew by whoever holds them.
    """

    def __init__(
        self, worker: Worker, rules: Analysis, *, clock: Callable[[], float], activity: Callable[[], int | None]
    ) -> None:
        self.verdict: str | None = None
        self._worker = worker
        self._rules = rules
        self._clock = clock
        self._activity = activity

    @property
    def rss(self) -> int:
        """Resident memory of its process in bytes; 0 if it has none of its own."""
        return resident(self._worker.pid) or self._worker.rss

    @property
    def limit(self) -> int:
        """What it may weigh, in bytes; 0: as much as it likes."""
        return self._rules.memory_mb * MIB

    def begin(self) -> None:
        """The worker is new."""
        self.verdict = None

    def too_heavy(self) -> str | None:
        """In words, if it held more than it may after its last job."""
        rss = self._worker.rss
        if not self.limit or rss <= self.limit:
            return None
        return f"holds {rss // MIB} MiB of memory, more than {self._rules.memory_mb}"

    async def pings(self) -> None:
        """Ask for a sign of life every `ping_s` while it is idle. One that works is watched by its deadlines."""
        wait_s = self._rules.ping_s
        while True:
            await asyncio.sleep(wait_s)
            before, began = self._activity(), self._clock()
            if before is None:
                continue
            try:
                async with asyncio.timeout(wait_s):
                    await self._worker.ping()
            except TimeoutError:
                if self._activity() == before and not self._slept(began):
                    self._worker.kill()
                    raise WorkerDied(f"the worker does not answer: no sign of life for {wait_s:g} s") from None

    def _slept(self, began: float) -> bool:
        """Whether it was this process that stood still, so that nobody could hear the answer."""
        return self._clock() - began > 1.5 * self._rules.ping_s

    async def weigh(self) -> None:
        """End a call (or the loading of a model) in which the worker grows beyond twice what it may."""
        while self.limit:
            await asyncio.sleep(LOOK_S)
            if self._activity() is None and (rss := resident(self._worker.pid)) > 2 * self.limit:
                self.verdict = f"grew to {rss // MIB} MiB of memory, more than twice {self._rules.memory_mb}"
                self._worker.kill()  # whoever is in there is to blame, which its dispatcher finds out


def resident(pid: int | None) -> int:
    """Resident memory of a process in bytes; 0 if there is none."""
    if pid is None:
        return 0
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
