"""Dispatcher: feeds one worker. Sessions take fair turns; a frame is taken after the turn is won, so it is the newest.

A session with a fresh frame waits in line once, however many frames it gets meanwhile. A turn is one job: the frame
and those of the session's analyzers at this worker that are due. A worker that dies is started again after a pause.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from gateway.engine.host import Report
from gateway.engine.mailbox import Bell
from gateway.engine.plugins import Manifest
from gateway.engine.runner import Runner
from gateway.engine.slot import Slot, Stage
from gateway.engine.worker import Worker, WorkerDied
from gateway.frame import Frame, iso
from gateway.results import result_to_json
from gateway.settings import Analysis

log = logging.getLogger(__name__)

HELLO_S = 30.0  # importing a plugin may import half of the world


class Dispatcher:
    """The line of sessions before one worker, and the job in flight. `run()` is its whole life."""

    def __init__(
        self,
        name: str,
        worker: Worker,
        rules: Analysis,
        *,
        clock: Callable[[], float],
        introduce: Callable[[Dispatcher, list[Manifest], Mapping[str, str]], None],
    ) -> None:
        self.name = name
        self.worker = worker
        self.runners: dict[str, Runner] = {}
        self.restarts = 0
        self.jobs = 0
        self._rules = rules
        self._clock = clock
        self._introduce = introduce
        self._line: dict[Slot, None] = {}
        self._bell = Bell()
        self._to_load: list[Runner] = []
        self._load_bell = Bell()
        self._closed = False

    # --- what the rest of the engine calls ---------------------------------------------------------------------------

    def offer(self, slot: Slot, frame: Frame) -> None:
        """Put a frame in the session's slot and the session in line. Never waits."""
        slot.put(frame)
        self._line.setdefault(slot)
        self._bell.ring()

    def want(self, runner: Runner) -> None:
        """Somebody asked for this analyzer: have its model loaded if it is not."""
        if runner.state == "idle":
            runner.prepared("loading")
            self._to_load.append(runner)
            self._load_bell.ring()

    def leave(self, slot: Slot) -> None:
        """The session is over."""
        self._line.pop(slot, None)
        slot.leave()
        self.worker.forget(slot.session.id)

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
                jobs = self.jobs
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
                pause = 1.0 if self.jobs > jobs else min(30.0, 2 * pause)
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
            tasks.create_task(self._turns())

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

    # --- turns -------------------------------------------------------------------------------------------------------

    async def _turns(self) -> None:
        while True:
            while not self._line:
                await self._bell.wait()
            await self._turn()

    async def _turn(self) -> None:
        """The turn of who has waited longest. Waiting for the next one must not hold on to this one's session."""
        slot = next(iter(self._line))
        del self._line[slot]
        frame = slot.frames.take()
        if frame is None:
            return
        due = self._due(slot, frame)
        if due:
            await self._job(slot, frame, due)
        else:
            slot.pass_fed(frame)
            slot.session.not_analyzed(frame)

    def _due(self, slot: Slot, frame: Frame) -> list[Stage]:
        """The analyzers that see this frame; for every other one it is dropped under a reason."""
        now = self._clock()
        due: list[Stage] = []
        there = set(frame.results)
        for stage in slot.stages:
            if reason := self._reason_against(stage, there, now):
                slot.pass_by(frame, stage, reason)
            else:
                stage.taken(now)
                there.add(stage.name)
                due.append(stage)
        return due

    @staticmethod
    def _reason_against(stage: Stage, there: set[str], now: float) -> str | None:
        if refusal := stage.runner.refusal(now):
            return refusal
        if any(need not in there for need in stage.runner.manifest.needs):
            return "needs"
        return None if stage.due(now) else "paced"

    async def _job(self, slot: Slot, frame: Frame, due: list[Stage]) -> None:
        job = _job(slot, frame, due)
        results: dict[str, Any] = {}
        waiting = list(due)
        self.jobs += 1
        try:
            async with aclosing(self.worker.run(job, frame.jpeg)) as reports:  # type: ignore[type-var]
                while waiting:
                    report = await self._next(reports, waiting[0].runner)
                    stage = waiting.pop(0)
                    self._settle(slot, frame, stage, report)
                    if "result" in report:
                        results[stage.name] = report["result"]
                await anext(reports, None)  # "done"
        except WorkerDied as died:
            self._blame(slot, frame, waiting, str(died))
            raise
        slot.session.job_done(frame, results, slot)

    async def _next(self, reports: AsyncIterator[Report], runner: Runner) -> Report:
        limit = runner.limit_s()
        try:
            async with asyncio.timeout(limit):
                return await anext(reports)
        except TimeoutError:
            raise WorkerDied(f"analyzer {runner.name} gave no answer within {limit:.0f} s") from None

    def _settle(self, slot: Slot, frame: Frame, stage: Stage, report: Report) -> None:
        now = self._clock()
        if "error" in report:
            stage.runner.failed(report["error"], now, report.get("traceback"))
            slot.pass_by(frame, stage, "error")
        elif "skipped" in report:
            slot.pass_by(frame, stage, report["skipped"])
        else:
            stage.runner.succeeded(report["ms"], now)
            stage.analyzed += 1
            slot.session.publish(frame, stage, report)

    def _blame(self, slot: Slot, frame: Frame, waiting: list[Stage], reason: str) -> None:
        """The first stage still out is the one that took the worker along; the others just lost the frame."""
        if waiting:
            waiting[0].runner.failed(reason, self._clock())
        for stage in waiting:
            slot.pass_by(frame, stage, "worker_died")
        slot.pass_fed(frame)


def _job(slot: Slot, frame: Frame, due: list[Stage]) -> dict[str, Any]:
    session = slot.session
    return {
        "session": {
            "stream_id": session.id,
            "camera_id": session.camera_id,
            "name": session.name,
        },
        "frame": {
            "seq": frame.seq,
            "received_at": frame.received_at,
            "at": frame.at,
            "width": frame.width,
            "height": frame.height,
            "captured_at": iso(frame.captured_at),
        },
        "stages": [{"name": stage.name, "options": stage.options} for stage in due],
        "results": {need: result_to_json(result) for need, result in frame.results.items()},
    }
