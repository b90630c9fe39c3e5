"""Supervisor: keeps one worker alive. Starts it, has models loaded in it, starts it again when it died.

Its dispatcher feeds the worker while it lives. Whoever costs it too many lives is disabled, and the others go on; a
worker that dies by itself as often is given up. Whatever ends a life, ends it here: by an exception out of `_serve`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal

from gateway.engine.connectors import ConnectorManifest
from gateway.engine.dispatcher import Casualty, Dispatcher
from gateway.engine.host import Report
from gateway.engine.loading import Loading
from gateway.engine.plugins import BUILT_IN, Manifest
from gateway.engine.quarantine import Quarantine
from gateway.engine.runner import Runner, State, Tally
from gateway.engine.vitals import Vitals
from gateway.engine.worker import Worker, WorkerDied
from gateway.settings import Analysis

log = logging.getLogger(__name__)

HELLO_S = 30.0  # importing a plugin may import half of the world
MAX_PAUSE_S = 30.0

Introduce = Callable[["Supervisor", list[Manifest], Mapping[str, str]], None]


class Anew(Exception):
    """The worker ends on purpose, to be started again at once. `heavy`: because it held too much memory."""

    def __init__(self, reason: str, *, heavy: bool) -> None:
        super().__init__(reason)
        self.heavy = heavy


class Supervisor:
    """One worker's life, from start to start. `run()` is all of it.

    `introduce` is called with what a worker holds after each start, and with its plugins' errors when it is given up.
    """

    def __init__(
        self,
        name: str,
        worker: Worker,
        rules: Analysis,
        *,
        clock: Callable[[], float],
        introduce: Introduce,
        plugins: Collection[str] = (),
        quarantine: Quarantine | None = None,
    ) -> None:
        self.name = name
        self.worker = worker
        self.dispatcher = Dispatcher(worker, rules, clock=clock, enough=self._enough)
        self.loading = Loading(
            worker, self.runners, rules, clock=clock, restart=self._start_anew, renew=self._introduce_again
        )
        self.vitals = Vitals(worker, rules, clock=clock, activity=self._activity)
        self.state: Literal["starting", "running", "waiting", "disabled"] = "starting"
        self.reason: str | None = None
        self.restarts = 0
        self.recycled = 0
        self._rules = rules
        self._clock = clock
        self._introduce = introduce
        self._plugins = plugins
        self._quarantine = quarantine
        self._deaths = Tally(rules.restarts, rules.restarts_s)
        self._recyclings = Tally(rules.restarts, rules.restarts_s)
        self.connectors: list[ConnectorManifest] = []  # of its plugins; they run in media children
        self.confined: Mapping[str, str] = {}  # what the worker gave up, and what keeps it from it
        self._failed: Mapping[str, str] = {}
        self._given_up: dict[Runner, State] = {}
        self._pause_s = 0.0
        self._began: float | None = None
        self._jobs = 0
        self._planned = False
        self._closed = False

    @property
    def runners(self) -> dict[str, Runner]:
        """The analyzers at this worker, by name."""
        return self.dispatcher.runners

    def want(self, runner: Runner) -> None:
        """Somebody asked for this analyzer: have its model loaded if it is not."""
        self.loading.want(runner)

    async def reload(self, runner: Runner) -> None:
        """Have an analyzer's code loaded anew, and forget what was held against it; returns when its state is known.

        In place for built-ins and files. A distribution may be of many modules: its worker is started anew.
        """
        if self._closed:
            return
        if self.state in ("starting", "running") and runner.manifest.distribution in ("", BUILT_IN):
            self.loading.take_over(runner)
        else:
            self._start_anew()
        await self.loading.reloaded(runner)

    def close(self) -> None:
        """Start the worker no more. Cancelling `run()` is not enough: a group that just broke swallows that (3.11)."""
        self._closed = True

    def describe(self) -> dict[str, Any]:
        """For `GET /api/status`. `memory_bytes` is what its process holds now, `memory_limit_bytes` 0 without one."""
        return {
            "name": self.name,
            "state": self.state,
            "reason": self.reason,
            "restarts": self.restarts,
            "recycled": self.recycled,
            "jobs": self.dispatcher.jobs,
            "memory_bytes": self.vitals.rss,
            "memory_limit_bytes": self.vitals.limit,
        }

    # --- life --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the worker running; ends by cancellation after `close()`."""
        try:
            while not self._closed:
                end: BaseException = Anew("", heavy=False)
                try:
                    await self._rest()
                    await self._serve()
                except* Exception as group:  # noqa: BLE001 - logged in _conclude
                    end = _first(group)
                await self._bury()
                if not self._closed:
                    await self._conclude(end)
        finally:
            self.loading.give_up()
            await self.worker.close()

    async def _rest(self) -> None:
        """The pause before a start; without an end if the worker was given up. A reload ends it.

        The dispatcher goes on giving turns meanwhile: nobody can be asked, so frames go by and are counted at once.
        """
        if self._pause_s or self.state == "disabled":
            try:
                async with asyncio.timeout(None if self.state == "disabled" else self._pause_s):
                    await self.dispatcher.turns()
            except TimeoutError:
                pass

    async def _serve(self) -> None:
        self._prepare_start()
        async with asyncio.TaskGroup() as tasks:
            hello = await self._hello()
            tasks.create_task(self.worker.listen())
            self._meet(hello)
            tasks.create_task(self.loading.run())
            tasks.create_task(self._work())
            tasks.create_task(self.vitals.pings())
            tasks.create_task(self.vitals.weigh())

    def _prepare_start(self) -> None:
        if self.state == "disabled":
            self._revive()
        self._planned = False
        self.dispatcher.casualty = None
        self.loading.forget()
        self._began, self._jobs = None, self.dispatcher.jobs
        self.state, self.reason = "starting", None
        self.vitals.begin()

    def _revive(self) -> None:
        """It was given up, and somebody wants it tried again."""
        self._deaths.forget()
        self._recyclings.forget()
        for runner, state in self._given_up.items():
            runner.reset("idle" if state == "idle" else "loading")
        self._given_up.clear()

    async def _hello(self) -> Report:
        try:
            async with asyncio.timeout(HELLO_S):
                return await self.worker.start()
        except TimeoutError:
            raise WorkerDied(f"no hello within {HELLO_S:.0f} s") from None

    def _meet(self, hello: Report) -> None:
        manifests = [Manifest.from_json(item) for item in hello["analyzers"]]
        self.loading.forgive()
        self._failed = hello["failed"]
        self.confined = hello.get("confined", {})
        self.connectors = [ConnectorManifest.from_json(item) for item in hello.get("connectors", ())]
        self._introduce(self, manifests, self._failed)
        self._began = self._clock()
        self.state = "running"
        self.loading.begin()

    async def _work(self) -> None:
        await self.dispatcher.turns()
        heavy = None if self._planned else self.vitals.too_heavy()
        raise Anew(heavy or "is started anew", heavy=heavy is not None)

    async def _bury(self) -> None:
        """The worker is gone: nothing is in flight, and nobody waits for what will not come."""
        await self.worker.close()
        for runner in self.runners.values():
            if runner.state in ("ready", "open"):
                runner.prepared("loading")

    # --- what the tasks ask ------------------------------------------------------------------------------------------

    def _enough(self) -> bool:
        """Whether this life is to end with the job that was just done (or the pause before the next one now)."""
        if self._planned or self.state != "running":
            return self._planned
        worked = self.dispatcher.jobs > self._jobs  # else its weight is that of the worker before
        return worked and self.loading.current is None and self.vitals.too_heavy() is not None

    def _activity(self) -> int | None:
        if self.dispatcher.busy or self.loading.current is not None:
            return None
        return self.dispatcher.jobs + self.loading.count

    def _start_anew(self) -> None:
        self._planned = True
        self.dispatcher.wake()

    def _introduce_again(self, manifests: list[Manifest]) -> None:
        """Some analyzers have new code, so perhaps new manifests."""
        here = {name: runner.manifest for name, runner in self.runners.items()}
        here.update({manifest.name: manifest for manifest in manifests})
        self._introduce(self, list(here.values()), self._failed)

    # --- after a death -----------------------------------------------------------------------------------------------

    async def _conclude(self, end: BaseException) -> None:
        """Say whose fault it was, and when to start again."""
        if isinstance(end, Anew):
            self._recycle(end)
        elif isinstance(end, WorkerDied):
            await self._mourn(self.vitals.verdict or str(end))
        else:  # a bug of ours: it costs this worker a restart, not everybody the gateway
            log.error("worker %s: broke", self.name, exc_info=end)
            await self._mourn(f"{type(end).__name__}: {end}")

    def _recycle(self, end: Anew) -> None:
        self._pause_s = 0.0
        if not end.heavy:
            return
        self.recycled += 1
        log.warning("worker %s: %s; starting anew", self.name, end)
        if often := self._recyclings.count(self._clock()):
            self._give_up(f"had to be started anew {often}: it {end}")

    async def _mourn(self, reason: str) -> None:
        now = self._clock()
        worked = self.dispatcher.jobs > self._jobs or (
            self._began is not None and now - self._began > self._rules.restarts_s
        )
        self._pause_s = self._next_pause(worked=worked)
        self.state, self.reason = "waiting", reason
        casualty, loading = self.dispatcher.casualty, self.loading.current
        if casualty and loading:
            self.loading.suspect(loading)
        elif casualty:
            await self._keep(casualty, reason)
            self._blame(casualty.runner, reason, loading=False)
        elif loading:
            self._blame(loading, reason, loading=True)
        elif often := self._count_death(now, worked=worked):
            self._give_up(f"died {often}; the last time: {reason}")
            return
        self.restarts += 1
        log.warning("worker %s: %s; starting again in %.1f s", self.name, reason, self._pause_s)

    def _next_pause(self, *, worked: bool) -> float:
        first = self._rules.restart_pause_s
        if worked or not self._pause_s:
            return first
        return max(first, min(MAX_PAUSE_S, 2 * self._pause_s))

    def _count_death(self, now: float, *, worked: bool) -> str | None:
        if worked:
            self._deaths.well()
        return self._deaths.count(now)

    async def _keep(self, casualty: Casualty, reason: str) -> None:
        if self._quarantine is not None and (place := await self._quarantine.keep(casualty, reason)):
            casualty.runner.quarantine = str(place)

    def _blame(self, runner: Runner, reason: str, *, loading: bool) -> None:
        runner.blamed(reason, self._clock(), loading=loading)
        if runner.state == "disabled":
            log.error("analyzer %s: disabled: %s", runner.name, runner.reason)

    def _give_up(self, reason: str) -> None:
        """Nothing but a reload starts this worker again."""
        self.state, self.reason = "disabled", reason
        log.error("worker %s: given up: %s", self.name, reason)
        for runner in self.runners.values():
            if runner.state not in ("failed", "disabled"):
                self._given_up[runner] = runner.state
                runner.disable(f"its worker was given up: {reason}")
        names = self._plugins or {runner.manifest.plugin for runner in self.runners.values()}
        self._introduce(self, [], dict.fromkeys(names, f"the worker was given up: {reason}"))
        self.loading.give_up()


def _first(group: BaseExceptionGroup[Exception]) -> BaseException:
    """What ended a life, of the exceptions that came of it: a bug of ours if there is one, else what came first."""
    leaves = list(_leaves(group))
    return next((leaf for leaf in leaves if not isinstance(leaf, WorkerDied | Anew)), leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
