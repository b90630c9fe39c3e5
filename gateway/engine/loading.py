"""Loading: has the models of one worker's analyzers loaded, one at a time, and their code taken over anew.

One at a time, so that whoever is being loaded when the worker dies is known. Where a frame was being analysed as well,
nobody can tell who it was: then the suspect is loaded first for a while, when nobody else can be asked yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gateway.engine.host import Report
from gateway.engine.mailbox import Bell
from gateway.engine.plugins import Manifest
from gateway.engine.runner import Runner
from gateway.engine.worker import Worker, WorkerDied
from gateway.settings import Analysis

log = logging.getLogger(__name__)


class Loading:
    """What is to be loaded at a worker. `current` is who is being loaded, also after the worker died of it.

    `restart` is called when only a new process can take the new code; `renew` with manifests of code taken in place.
    """

    def __init__(
        self,
        worker: Worker,
        runners: Mapping[str, Runner],
        rules: Analysis,
        *,
        clock: Callable[[], float],
        restart: Callable[[], None],
        renew: Callable[[list[Manifest]], None],
    ) -> None:
        self.current: Runner | None = None
        self.count = 0
        self._worker = worker
        self._runners = runners
        self._rules = rules
        self._clock = clock
        self._restart = restart
        self._renew = renew
        self._wanted: dict[Runner, None] = {}
        self._stale: dict[Runner, None] = {}
        self._reloads: dict[Runner, asyncio.Future[None]] = {}
        self._suspects: dict[Runner, float] = {}
        self._bell = Bell()

    # --- what is asked -----------------------------------------------------------------------------------------------

    def want(self, runner: Runner) -> None:
        """Somebody asked for this analyzer: have its model loaded if it is not, or if it lacked its weights."""
        if runner.may_be_loaded(self._clock()):
            self._add(runner)

    def take_over(self, runner: Runner) -> None:
        """Have the worker take over this analyzer's new code without a restart."""
        self._stale[runner] = None
        self._bell.ring()

    async def reloaded(self, runner: Runner) -> None:
        """Wait until it is known what came of reloading this analyzer, or as long as loading may take."""
        waiting = self._reloads.get(runner)
        if waiting is None:
            waiting = self._reloads[runner] = asyncio.get_running_loop().create_future()
        await asyncio.wait([waiting], timeout=self._rules.load_s)

    def give_up(self) -> None:
        """There will be no worker to load anything: nobody waits for it."""
        for runner in list(self._reloads):
            self._settle(runner)

    # --- when a worker starts and dies -------------------------------------------------------------------------------

    def forget(self) -> None:
        """The worker is gone, and with it what was to be done there."""
        self.current = None
        self._wanted.clear()
        self._stale.clear()

    def forgive(self) -> None:
        """A new worker is about to say what it holds: what was held against those to be reloaded is forgotten."""
        for runner in self._reloads:
            begin = runner.state != "idle"
            runner.reset()
            if begin:
                runner.prepared("loading")

    def begin(self) -> None:
        """The worker is new: what was loaded, or asked for since, must be loaded; those under suspicion first."""
        now = self._clock()
        self._suspects = {runner: until for runner, until in self._suspects.items() if until > now}
        for runner in sorted(self._runners.values(), key=lambda runner: runner not in self._suspects):
            if runner.state in ("loading", "ready", "open"):
                self._add(runner)
            elif runner not in self._stale:
                self._settle(runner)

    def suspect(self, runner: Runner) -> None:
        """The worker died while this one was being loaded, but perhaps of something else."""
        self._suspects[runner] = self._clock() + self._rules.restarts_s

    # --- at work -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Load what is wanted, for as long as the worker lives. Raises `WorkerDied`."""
        while True:
            for runner, work in self._next():
                self.current = runner
                self.count += 1
                await self._in_time(runner, work)
                self.current = None
            await self._bell.wait()

    def _next(self) -> Iterator[tuple[Runner, Callable[[Runner], Any]]]:
        """New code first: what is loaded after it is loaded from it."""
        while self._stale or self._wanted:
            line, work = (self._stale, self._refresh) if self._stale else (self._wanted, self._load)
            runner = next(iter(line))
            del line[runner]
            yield runner, work

    async def _in_time(self, runner: Runner, work: Callable[[Runner], Any]) -> None:
        try:
            async with asyncio.timeout(self._rules.load_s):
                await work(runner)
        except TimeoutError:
            self._worker.kill()
            raise WorkerDied(f"analyzer {runner.name} was not loaded within {self._rules.load_s:.0f} s") from None

    async def _load(self, runner: Runner) -> None:
        report = await self._worker.prepare(runner.name)
        self._prepared(runner, report)
        log.info("analyzer %s: %s %s", runner.name, runner.state, runner.reason or "")
        self._settle(runner)

    @staticmethod
    def _prepared(runner: Runner, report: Report) -> None:
        trace, files = report.get("traceback"), report.get("weights", ())
        if report["state"] == "ready":
            runner.prepared("ready", batch=report.get("batch", 0), device=report.get("device"), weights=files)
        else:
            runner.prepared("failed", report.get("reason"), trace, missing=not trace, weights=files)

    async def _refresh(self, runner: Runner) -> None:
        """The worker takes over the code of the plugin that holds this analyzer, and so of its other analyzers too."""
        report = await self._worker.reload(runner.name)
        if report["state"] == "restart":
            log.info("analyzer %s: its new code needs a new worker: %s", runner.name, report.get("reason"))
            self._restart()
            return
        if report["state"] == "refused":  # the old code runs on
            runner.note(f"not reloaded: {report.get('reason')}", report.get("traceback"))
        else:
            self._taken([report, *report.get("also", [])])
        if runner not in self._wanted:
            self._settle(runner)

    def _taken(self, reports: list[Report]) -> None:
        """New code is in place: of those whose model was dropped, have it loaded again if somebody had asked for it."""
        self._renew([Manifest.from_json(report["manifest"]) for report in reports if report.get("manifest")])
        for report in reports:
            runner = self._runners.get(report["analyzer"])
            if runner is None:
                continue
            loaded, asked = report["state"] == "ready", runner.state != "idle"
            runner.reset("ready" if loaded else "idle")
            if asked and not loaded:
                self._add(runner)

    def _add(self, runner: Runner) -> None:
        runner.prepared("loading")
        self._wanted[runner] = None
        self._bell.ring()

    def _settle(self, runner: Runner) -> None:
        """Tell those who wait for its reload."""
        if waiting := self._reloads.pop(runner, None):
            waiting.set_result(None)
