"""Dispatcher: feeds one worker. Sessions take fair turns; a frame is taken after the turn is won, so it is the newest.

A session with a fresh frame waits in line once, however many frames it gets meanwhile. A turn is one job: the frame
and those of the session's analyzers at this worker that are due.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from gateway.engine.host import Report
from gateway.engine.mailbox import Bell
from gateway.engine.runner import Runner
from gateway.engine.slot import Slot, Stage
from gateway.engine.worker import Worker, WorkerDied
from gateway.frame import Frame, iso
from gateway.results import result_to_json

log = logging.getLogger(__name__)


class Dispatcher:
    """The line of sessions before one worker, and the job in flight."""

    def __init__(self, worker: Worker, *, clock: Callable[[], float]) -> None:
        self.worker = worker
        self.runners: dict[str, Runner] = {}
        self.jobs = 0
        self._clock = clock
        self._line: dict[Slot, None] = {}
        self._bell = Bell()

    # --- what the rest of the engine calls ---------------------------------------------------------------------------

    def offer(self, slot: Slot, frame: Frame) -> None:
        """Put a frame in the session's slot and the session in line. Never waits."""
        slot.put(frame)
        self._line.setdefault(slot)
        self._bell.ring()

    def leave(self, slot: Slot) -> None:
        """The session is over."""
        self._line.pop(slot, None)
        slot.leave()
        self.worker.forget(slot.session.id)

    # --- turns -------------------------------------------------------------------------------------------------------

    async def turns(self) -> None:
        """Give turns for as long as the worker lives. Raises `WorkerDied`."""
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
