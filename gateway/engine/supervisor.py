"""Supervisor: keeps one worker alive. Starts it, has models loaded in it, starts it again when it died.

Its dispatcher feeds the worker while it lives. The pause between starts grows while it dies without a job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from gateway.engine.dispatcher import Dispatcher
from gateway.engine.host import Report
from gateway.engine.mailbox import Bell
from gateway.engine.plugins import Manifest
from gateway.engine.runner import Runner
from gateway.engine.worker import Worker, WorkerDied
from gateway.settings import Analysis

log = logging.getLogger(__name__)

HELLO_S = 30.0  # importing a plugin may import half of the world

Introduce = Callable[["Supervisor", list[Manifest], Mapping[str, str]], None]


class Supervisor:
    """One worker's life, from start to start. `run()` is all of it."""

    def __init__(
        self, name: str, worker: Worker, rules: Analysis, *, clock: Callable[[], float], introduce: Introduce
    ) -> None:
        self.name = name
        self.worker = worker
        self.dispatcher = Dispatcher(worker, clock=clock)
        self.restarts = 0
        self._rules = rules
        self._clock = clock
        self._introduce = introduce
        self._to_load: list[Runner] = []
        self._load_bell = Bell()
        self._closed = False

    @property
    def runners(self) -> dict[str, Runner]:
        """The analyzers at this worker, by name."""
        return self.dispatcher.runners

    def want(self, runner: Runner) -> None:
        """Somebody asked for this analyzer: have its model loaded if it is not."""
        if runner.state == "idle":
            runner.prepared("loading")
            self._to_load.append(runner)
            self._load_bell.ring()

    def close(self) -> None:
        """Start the worker no more. Cancelling `run()` is not enough: a group that just broke swallows that (3.11)."""
        self._closed = True

    # --- life --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the worker running; ends by cancellation after `close()`.

        The pause between starts grows while it dies without a job. What dies of jobs, the breakers keep from it.
        """
        pause = 1.0
        try:
            while True:
                jobs = self.dispatcher.jobs
                try:
                    await self._serve()
                except* WorkerDied as died:
                    log.warning("worker %s: %s; starting again in %.0f s", self.name, died.exceptions[0], pause)
                except* Exception:  # a bug of ours: it costs this worker a restart, not everybody the gateway
                    log.exception("worker %s: broke; starting again in %.0f s", self.name, pause)
                await self._bury()
                if self._closed:
                    return
                await asyncio.sleep(pause)
                pause = 1.0 if self.dispatcher.jobs > jobs else min(30.0, 2 * pause)
                self.restarts += 1
        finally:
            await self.worker.close()

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            try:
                async with asyncio.timeout(HELLO_S):
                    hello = await self.worker.start()
            except TimeoutError:
                raise WorkerDied(f"no hello within {HELLO_S:.0f} s") from None
            tasks.create_task(self.worker.listen())
            tasks.create_task(self._loads(tasks))
            self._meet(hello)
            tasks.create_task(self.dispatcher.turns())

    def _meet(self, hello: Report) -> None:
        self._introduce(self, [Manifest.from_json(item) for item in hello["analyzers"]], hello["failed"])
        self._to_load.clear()
        for runner in self.runners.values():  # after a restart: what was loaded, or asked for since, must be loaded
            if runner.state in ("loading", "ready", "open"):
                runner.prepared("idle")
                self.want(runner)

    async def _bury(self) -> None:
        """The worker is gone: nothing is in flight, and nobody waits for what will not come."""
        await self.worker.close()
        for runner in self.runners.values():
            if runner.state in ("ready", "open"):
                runner.prepared("loading")

    async def _loads(self, tasks: asyncio.TaskGroup) -> None:
        """Begin the loading of what is wanted. In here, because a group that is ending takes no task from outside."""
        while True:
            for runner in self._to_load:
                tasks.create_task(self._prepare(runner))
            self._to_load.clear()
            await self._load_bell.wait()

    async def _prepare(self, runner: Runner) -> None:
        report = await self.worker.prepare(runner.name)
        runner.prepared(report["state"], report.get("reason"), report.get("traceback"))
        log.info("analyzer %s: %s %s", runner.name, runner.state, runner.reason or "")
