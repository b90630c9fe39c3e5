"""Overload: what is given up, in order, when the memory of the gateway and its workers runs short.

Three actions, each at a share of the memory there is: new streams are refused, analyzers rest, the newest viewers are
disconnected. Each ends a little below the share at which it began.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from gateway.engine.vitals import MIB, resident
from gateway.limits import Limits
from gateway.protocol import CLOSE_OVERLOADED

if TYPE_CHECKING:
    from gateway.engine.hub import Hub

log = logging.getLogger(__name__)

LOOK_S = 1.0
RELIEF = 0.03  # an action ends when the memory is this share below where it began
AT_ONCE = 10  # one in so many viewers is disconnected per look
ACTIONS = ("refuse_streams", "rest_analyzers", "disconnect_viewers")
CGROUPS = Path("/sys/fs/cgroup")


class Overload:
    """Looks at the memory once a second while it runs. `used` and `limit` are bytes."""

    def __init__(self, hub: Hub, limits: Limits, *, measure: Callable[[], int] | None = None) -> None:
        self.active = dict.fromkeys(ACTIONS, False)
        self.used = 0
        self.limit = limits.memory_mb * MIB or memory_limit()
        self._hub = hub
        self._keep = frozenset(limits.overload_keep)
        self._shares = dict(
            zip(ACTIONS, (limits.memory_refuse, limits.memory_rest, limits.memory_disconnect), strict=True)
        )
        self._measure = measure or self._all_memory

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look and act until the end of the block."""
        async with asyncio.TaskGroup() as tasks:
            looks = tasks.create_task(self._looks())
            try:
                yield
            finally:
                looks.cancel()

    async def _looks(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Measure, and begin or end what is due."""
        self.used = self._measure()
        share = self.used / self.limit
        for action, begins in self._shares.items():
            ends = begins - RELIEF
            active = share >= (ends if self.active[action] else begins)
            if active != self.active[action]:
                self.active[action] = active
                log.warning("memory at %.0f %%: %s %s", 100 * share, action, "begins" if active else "ends")
        self._hub.admission.shed = "overloaded" if self.active["refuse_streams"] else None
        self._rest(self.active["rest_analyzers"])
        if self.active["disconnect_viewers"]:
            self._disconnect()

    def _rest(self, resting: bool) -> None:
        runners = self._hub.runners
        kept: set[str] = set()
        waiting = list(self._keep)
        while waiting:
            name = waiting.pop()
            if name in runners and name not in kept:
                kept.add(name)
                waiting += runners[name].manifest.needs
        for name, runner in runners.items():
            runner.rests = resting and name not in kept

    def _disconnect(self) -> None:
        """A tenth of the viewers, the newest first; those who were here longest are the last to go."""
        viewers = [viewer for session in self._hub.sessions.values() for viewer in session.audience.picture_viewers()]
        viewers.sort(key=lambda viewer: viewer.since, reverse=True)
        for viewer in viewers[: -(-len(viewers) // AT_ONCE)]:
            viewer.close(CLOSE_OVERLOADED, "overloaded")
            self._hub.admission.refusals.note("overloaded", "viewers", "disconnected, since memory is short")

    def _all_memory(self) -> int:
        pids = [supervisor.worker.pid for supervisor in self._hub.supervisors]
        return resident(os.getpid()) + sum(resident(pid) for pid in [*pids, self._hub.painter.pid])


def memory_limit() -> int:
    """What this process and its children may hold: the cgroup's limit if there is one, else the machine's memory."""
    limits = [int(psutil.virtual_memory().total)]
    for place in _cgroup_files():
        with suppress(OSError):
            said = place.read_text().strip()
            if said.isdecimal():  # "max": no limit
                limits.append(int(said))
    return min(limits)


def _cgroup_files() -> Iterator[Path]:
    """Where the limit of this process may stand, in both versions of cgroups, and of its parents' at the root."""
    yield CGROUPS / "memory.max"
    yield CGROUPS / "memory" / "memory.limit_in_bytes"
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield CGROUPS / path.lstrip("/") / "memory.max"
            elif "memory" in controllers.split(","):
                yield CGROUPS / "memory" / path.lstrip("/") / "memory.limit_in_bytes"
