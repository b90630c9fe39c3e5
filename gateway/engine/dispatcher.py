"""Dispatcher: feeds one worker. Sessions take fair turns; a frame is taken after the turn is won, so it is the newest.

A session with a fresh frame waits in line once, however many frames it gets meanwhile. A turn is one job: the frame
and those of the session's analyzers at this worker that are due. Where one of them takes several frames at once, the
sessions behind in the line come along.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from gateway.engine.host import Report
from gateway.engine.job import Call, Item, Job
from gateway.engine.mailbox import Bell
from gateway.engine.reports import check_alone, check_call
from gateway.engine.runner import Runner
from gateway.engine.slot import Slot, Stage
from gateway.engine.worker import Worker, WorkerDied
from gateway.frame import Frame
from gateway.settings import Analysis

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Casualty:
    """A worker's death in a call: the analyzer that was asked, the frames it was asked about, and how it died."""

    runner: Runner
    items: tuple[tuple[Slot, Frame], ...]
    reason: str


class Dispatcher:
    """The line of sessions before one worker, and the job in flight (two if the worker is to decode ahead).

    `enough` is asked between jobs; when it says yes, `turns()` returns and nothing is in flight.
    """

    def __init__(
        self,
        worker: Worker,
        rules: Analysis,
        *,
        clock: Callable[[], float],
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        self.worker = worker
        self.runners: dict[str, Runner] = {}
        self.jobs = 0
        self.casualty: Casualty | None = None
        self._rules = rules
        self._clock = clock
        self._enough = enough
        self._line: dict[Slot, None] = {}
        self._here: set[Slot] = set()  # that have offered a frame and may offer more
        self._in_flight: list[Job] = []
        self._bell = Bell()
        self._picking, self._reading = asyncio.Lock(), asyncio.Lock()

    # --- what the rest of the engine calls ---------------------------------------------------------------------------

    def offer(self, slot: Slot, frame: Frame) -> None:
        """Put a frame in the session's slot and the session in line. Never waits."""
        slot.put(frame)
        self._here.add(slot)
        self._line.setdefault(slot)
        self._bell.ring()

    def leave(self, slot: Slot) -> None:
        """The session is over."""
        self.withdraw(slot)
        slot.leave()
        self.worker.forget(slot.session.id)

    def withdraw(self, slot: Slot) -> None:
        """Nothing more will be offered in this slot."""
        self._line.pop(slot, None)
        self._here.discard(slot)

    @property
    def busy(self) -> bool:
        """Whether a job is in flight."""
        return bool(self._in_flight)

    def wake(self) -> None:
        """Ask `enough` again, though nobody may be in line."""
        self._bell.ring()

    # --- turns -------------------------------------------------------------------------------------------------------

    async def turns(self) -> None:
        """Give turns for as long as the worker lives, or until there were enough. Raises `WorkerDied`."""
        self.casualty = None
        self._picking, self._reading = asyncio.Lock(), asyncio.Lock()
        try:
            if self._rules.ahead:
                await self._lanes()
            else:
                await self._lane()
        finally:  # of the jobs that were only sent nobody is to blame
            for job in self._in_flight:
                job.lose()
            self._in_flight.clear()

    async def _lanes(self) -> None:
        """Two jobs in flight: one lane reads the answers to its job while the other one's is sent and waits."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(2):
                    tasks.create_task(self._lane())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _lane(self) -> None:
        while await self._turn():
            pass

    async def _turn(self) -> bool:
        """One job, from the line to its last answer; False if there is to be no other."""
        async with self._picking:
            job = await self._pick()
            if job is None:
                self._bell.ring()  # for the other lane
                return False
            self.jobs += 1
            self._in_flight.append(job)
            reports = self.worker.run(job.order(), job.pictures)
        async with self._reading, aclosing(reports):  # type: ignore[type-var]
            await self._follow(job, reports)
        self._in_flight.remove(job)
        self._bell.ring()  # whose frame came while theirs was in flight can be picked now
        return True

    async def _pick(self) -> Job | None:
        """The next job, waiting for somebody in line; None if there were enough.

        Waiting for the next one must not hold on to this one's session.
        """
        while not self._enough():
            if not self._waiting():
                await self._bell.wait()
                continue
            await self._company()
            if items := self._gather():
                return Job(items)
        return None

    def _waiting(self) -> list[Slot]:
        """Who could come along, foremost first: whose frames are not in flight."""
        away = self._away
        return [slot for slot in self._line if slot not in away]

    @property
    def _away(self) -> set[Slot]:
        return {slot for job in self._in_flight for slot in job.slots}

    def _party(self) -> tuple[list[Slot], int]:
        """The foremost session and those behind it that share an analyzer that takes several frames, and how many."""
        now = self._clock()
        first, *others = self._waiting()
        shared = {stage.name: stage.runner.batch_size for stage in first.stages if self._wants(stage, now)}
        size = max(shared.values(), default=1)
        if size <= 1:
            return [first], 1
        shared = {name: size for name, size in shared.items() if size > 1}
        fellows = (s for s in others if any(stage.name in shared and self._wants(stage, now) for stage in s.stages))
        return [first, *fellows][:size], size

    @staticmethod
    def _wants(stage: Stage, now: float) -> bool:
        return stage.runner.refusal(now) is None and stage.due(now)

    async def _company(self) -> None:
        """Wait a little for others to come along, if the foremost one's analyzer takes several and others there are."""
        wait_s = self._rules.batch_wait_ms / 1e3
        if not wait_s or self._party()[1] <= 1:
            return
        try:
            async with asyncio.timeout(wait_s):
                while self._waiting() and not self._full():
                    await self._bell.wait()
        except TimeoutError:
            pass

    def _full(self) -> bool:
        party, size = self._party()
        return len(party) >= min(size, len(self._here - self._away)) or self._enough()

    def _gather(self) -> list[Item]:
        """Take the foremost session's newest frame, and those of the sessions that come along."""
        items = []
        for slot in self._party()[0] if self._waiting() else []:
            del self._line[slot]
            frame = slot.frames.take()
            if frame is None:
                continue
            if due := self._due(slot, frame):
                items.append(Item(slot, frame, due))
            else:
                slot.pass_fed(frame)
                slot.session.not_analyzed(frame)
        return items

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
            stage.offered(now)
        return due

    @staticmethod
    def _reason_against(stage: Stage, there: set[str], now: float) -> str | None:
        if refusal := stage.runner.refusal(now):
            return refusal
        if any(need not in there for need in stage.runner.manifest.needs):
            return "needs"
        return stage.gate(now) if stage.due(now) else "paced"

    # --- the answers to a job ----------------------------------------------------------------------------------------

    async def _follow(self, job: Job, reports: AsyncIterator[Report]) -> None:
        """Settle each call when it is answered. The first one still out is the one that took the worker along."""
        for call in job.calls:
            suspects = [(item.slot, item.frame) for item, _ in call.entries]
            try:
                report = await self._answer(call, reports, suspects)
            except WorkerDied as died:
                call.runner.failed(str(died), self._clock())
                self.casualty = Casualty(call.runner, tuple(suspects), str(died))
                raise
            job.settle(call, report, self._clock())
        if await self._next(reports, self._rules.kill_s, "the worker") is not None:
            raise WorkerDied("the worker answered more than it was asked")

    async def _answer(self, call: Call, reports: AsyncIterator[Report], suspects: list[tuple[Slot, Frame]]) -> Report:
        """The answer to a call. A batch that raised is asked frame by frame, and each frame has the time of a call."""
        every = list(suspects)
        for _ in range(len(every) + 1):
            report = await self._next(reports, call.runner.limit_s(), f"analyzer {call.runner.name}")
            if report is None:
                raise WorkerDied("the worker was done before it had answered")
            try:
                if report.get("t") != "alone":
                    check_call(report, call.runner.name, len(every))
                    return report
                suspects[:] = [every[check_alone(report, len(every))]]
            except ValueError as error:
                raise WorkerDied(f"the worker broke the protocol: {error}") from None
        raise WorkerDied(f"analyzer {call.runner.name} comes to no end")

    async def _next(self, reports: AsyncIterator[Report], limit_s: float, who: str) -> Report | None:
        """The worker's next word about a job; None after its last."""
        try:
            async with asyncio.timeout(limit_s):
                return await anext(reports, None)
        except TimeoutError:
            self.worker.kill()
            raise WorkerDied(f"{who} gave no answer within {limit_s:.0f} s") from None
